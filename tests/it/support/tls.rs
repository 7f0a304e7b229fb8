//! A certificate authority of one test, and receivers that speak TLS with its certificates.

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a good list of names");
        // Of two authorities of one name, the wrong one would be found and its signature be what is wrong.
        params.distinguished_name.push(DnType::CommonName, format!("authority {:x}", rand::random::<u64>()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        let folder = TempDir::with_prefix("jackfield-ca-").expect("a temporary folder can be made");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("a folder takes files");
        Authority { issuer: Issuer::new(params, key), folder }
    }

    /// As `SSL_CERT_FILE` takes it.
    pub fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// The files of a certificate for `name`, and of its key.
    pub fn certificate(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name that can be certified");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let [file, key_file] = ["pem", "key"].map(|end| self.folder.path().join(format!("{name}.{end}")));
        std::fs::write(&file, certificate.pem()).expect("a folder takes files");
        std::fs::write(&key_file, key.serialize_pem()).expect("a folder takes files");
        (file.display().to_string(), key_file.display().to_string())
    }

    /// Accepts TLS as `name`, offering these protocols.
    pub fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name that can be certified");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
        let mut config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What axum serves: connections on which the handshake was done.
pub struct TlsListener {
    pub tcp: TcpListener,
    pub acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.tcp.accept().await.expect("a listener accepts");
            // Who does not trust the certificate says so and goes.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
