//! Where a JWKS document is, and reading it once: bounded in time and size.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::https::{self, HttpsError};

/// Of a whole reading: lookup, connection, TLS, answer.
pub const DEADLINE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// How often a file is looked at: some file systems tell nothing of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ACCEPT: &str = "application/jwk-set+json, application/json";
const USER_AGENT: &str = concat!("Jackfield/", env!("CARGO_PKG_VERSION"));

/// Set by the operator, who may name a machine of the own network: it is not vetted as a tenant's URL is.
#[derive(Debug, Clone)]
pub enum Location {
    Url(Uri),
    File(PathBuf),
}

impl Location {
    /// # Errors
    /// What is wrong with it, without the text itself: it may hold a password.
    pub fn url(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).map_err(|error| format!("is no URL such as https://idp.example/jwks.json: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must begin with https:// or http:// and name a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user and no password: a JWKS document is public".to_owned());
        }
        url.as_str().parse().map(Self::Url).map_err(|error| format!("is no URL that can be asked: {error}"))
    }
}

/// Without the query, which may hold a secret.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(uri) => {
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                write!(f, "{}://{authority}{}", uri.scheme_str().unwrap_or_default(), uri.path())
            }
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why no source can be made.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    #[error("JWT_JWKS_URL cannot be asked: {0}")]
    Https(#[from] HttpsError),
}

/// What was seen of a file: read again when it changes.
pub type Stamp = Option<(u64, Option<SystemTime>)>;

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

pub enum Source {
    Url { uri: Uri, client: Box<HttpClient> },
    File(PathBuf),
}

impl Source {
    pub fn new(location: Location) -> Result<Self, KeySourceError> {
        Ok(match location {
            Location::Url(uri) => Self::Url { uri, client: Box::new(client()?) },
            Location::File(path) => Self::File(path),
        })
    }

    /// The document as it is now.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn read(&self) -> Result<Bytes, String> {
        let reading = async {
            match self {
                Self::Url { uri, client } => fetch(client, uri).await,
                Self::File(path) => read_file(path).await,
            }
        };
        let read = tokio::time::timeout(DEADLINE, reading).await;
        read.unwrap_or_else(|_| Err(format!("no whole answer within {} s", DEADLINE.as_secs())))
    }

    /// To be taken before a reading: what is written meanwhile makes another one.
    pub async fn stamp(&self) -> Stamp {
        match self {
            Self::Url { .. } => None,
            Self::File(path) => {
                let metadata = tokio::fs::metadata(path).await.ok()?;
                Some((metadata.len(), metadata.modified().ok()))
            }
        }
    }

    /// Waits until the file is no longer as it was; a URL tells nothing.
    pub async fn changed(&self, stamp: Stamp) {
        if matches!(self, Self::Url { .. }) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.stamp().await != stamp {
                return;
            }
        }
    }
}

async fn fetch(client: &HttpClient, uri: &Uri) -> Result<Bytes, String> {
    let request = Request::get(uri)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = client.request(request).await.map_err(|error| causes(&error))?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("it answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| causes(&*error))
}

async fn read_file(path: &Path) -> Result<Bytes, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // One byte more tells a document that is too large from one that just fits.
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err("length limit exceeded".to_owned());
    }
    Ok(bytes.into())
}

/// An error with what it comes from: the outermost says little.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut error = error;
    while let Some(source) = error.source() {
        texts.push(source.to_string());
        error = source;
    }
    texts.dedup();
    texts.join(": ")
}

fn client() -> Result<HttpClient, KeySourceError> {
    // It is asked too rarely for a connection to be kept.
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https::anywhere(CONNECT_TIMEOUT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_without_its_query() {
        let location = Location::url("https://idp.example:8443/keys?api_key=hunter2").unwrap();
        assert_eq!(location.to_string(), "https://idp.example:8443/keys");
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_1_mib() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        for (len, fits) in [(MAX_DOCUMENT_BYTES, true), (MAX_DOCUMENT_BYTES + 1, false)] {
            std::fs::write(&path, vec![b' '; len]).unwrap();
            let source = Source::new(Location::File(path.clone())).unwrap();
            assert_eq!(source.read().await.is_ok(), fits, "{len}");
        }
    }
}
