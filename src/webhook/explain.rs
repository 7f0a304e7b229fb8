//! What went wrong with an exchange, in words for the tenant: the rule, the setting or the fault, and never an address
//! that a name led to.

use std::{error::Error, io};

use hyper_util::client::legacy;

use super::connector::DialError;

/// The fault in a line.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    if let Some(dial) = find::<DialError>(error) {
        return dial.to_string();
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return format!("no TLS connection: {tls}");
    }
    let cause = causes(error).last().unwrap_or(error);
    if find::<legacy::Error>(error).is_some_and(legacy::Error::is_connect) {
        return format!("cannot connect: {cause}");
    }
    format!("the exchange broke: {cause}")
}

/// Whether the receiver has said that it did nothing with the request (RFC 9113 §8.7), so that sending it again does no
/// harm: it closes the connection in good order, or has no room for one more at once.
pub fn is_untouched(error: &(dyn Error + 'static)) -> bool {
    find::<h2::Error>(error).is_some_and(|error| {
        let reason = error.reason();
        error.is_remote()
            && (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// An error and what it was caused by, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an I/O error is its inner error's source: the inner one would be skipped.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::net::NetError;

    use super::*;
    use crate::webhook::{
        address::{Refusal, SpecialRange},
        proxy::ProxyError,
        resolver::ResolveError,
    };

    #[test]
    fn a_fault_is_found_however_deep_it_is_wrapped() {
        let refused = DialError::Resolve(ResolveError::Refused(Refusal(SpecialRange::Private)));
        let wrapped = io::Error::other(io::Error::other(refused));
        assert_eq!(
            explain(&wrapped),
            "not dialled: the name leads to a private address; WEBHOOK_ALLOW_NETS permits it"
        );
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert_eq!(explain(&wrapped), "no TLS connection: invalid peer certificate: UnknownIssuer");
        assert_eq!(explain(&io::Error::other("cut")), "the exchange broke: cut");
    }

    /// What a name leads to, and where the operator's name servers and proxy are, is in the operator's log at most.
    #[test]
    fn detail_is_never_customer_visible() {
        let address = "10.1.2.3:53";
        let lookup = || ResolveError::Lookup(NetError::from(format!("no answer from {address}")));
        let garbled = io::Error::new(io::ErrorKind::InvalidData, "not HTTP");
        for dial in [
            DialError::Resolve(lookup()),
            DialError::Resolve(ResolveError::Refused(Refusal(SpecialRange::CloudMetadata))),
            DialError::Connect(io::Error::from_raw_os_error(111)),
            DialError::Proxy,
            DialError::Tunnel(ProxyError::Broke(garbled)),
        ] {
            let text = explain(&io::Error::other(dial));
            assert!(!text.contains("10.") && !text.contains("169.") && !text.contains(":53"), "{text}");
        }
    }

    #[test]
    fn only_what_the_receiver_disowns_is_sent_again() {
        let local = h2::Error::from(h2::Reason::REFUSED_STREAM);
        assert!(!is_untouched(&local), "the receiver said nothing");
        assert!(!is_untouched(&io::Error::other("cut")));
    }
}
