//! Reading settings from text: each by its unit, and all mistakes before any is told.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::vault::KEY_BYTES;

const DNS_PORT: u16 = 53;

/// Collects mistakes while it reads.
#[derive(Default)]
pub struct Reader {
    mistakes: Vec<String>,
}

impl Reader {
    pub fn read<T, E: Display>(
        &mut self,
        name: &str,
        value: &Option<String>,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = value.as_deref().filter(|text| !text.is_empty()).unwrap_or(default);
        parse(text).map_err(|error| self.mistake(name, &error.to_string())).ok()
    }

    pub fn mistake(&mut self, name: &str, message: &str) {
        self.mistakes.push(format!("{name} {message}"));
    }

    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<String>> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(self.mistakes),
        }
    }
}

/// An empty setting is as one that is not set: compose files and shells make them.
pub fn text_or(value: &Option<String>, default: &str) -> String {
    value.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
}

pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{text:?} is no duration such as 250ms, 30s or 5m")),
    }
}

pub fn size(text: &str) -> Result<usize, String> {
    let refused = || format!("{text:?} is no size such as 512, 64KiB or 16MiB");
    let bytes = text.parse::<bytesize::ByteSize>().map_err(|_| refused())?.as_u64();
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(refused)
}

pub fn number(bounds: std::ops::RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let refused = || format!("{text:?} is no number from {} to {}", bounds.start(), bounds.end());
        text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(refused)
    }
}

/// `10.0.0.2`, `10.0.0.2:5353`, `fd00::53` or `[fd00::53]:5353`.
pub fn name_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = || text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let alone = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    with_port()
        .or_else(alone)
        .ok_or_else(|| format!("{text:?} is no address of a name server such as 10.0.0.2 or 10.0.0.2:5353"))
}

/// Keys in base64 with commas between. A mistake names the place in the list and never the key.
pub fn encryption_keys(text: &str) -> Result<Vec<[u8; KEY_BYTES]>, String> {
    let mut keys: Vec<[u8; KEY_BYTES]> = Vec::new();
    if text.is_empty() {
        return Ok(keys);
    }
    for (n, part) in text.split(',').map(str::trim).enumerate() {
        let refused = |what: &str| format!("key {} {what}: make one with `openssl rand -base64 32`", n + 1);
        if part.is_empty() {
            return Err(refused("is empty"));
        }
        let bytes = STANDARD.decode(part).map_err(|_| refused("is no base64 with padding"))?;
        let key = bytes.as_slice().try_into();
        let key = key.map_err(|_| refused(&format!("is {} bytes long, and {KEY_BYTES} are needed", bytes.len())))?;
        if keys.contains(&key) {
            return Err(refused("is there twice"));
        }
        keys.push(key);
    }
    Ok(keys)
}
