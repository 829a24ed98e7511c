//! The way to the backend step by step, for the doctor: name, connection, certificates. Nothing is sent but a TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::origin::Origin;
use super::{HttpSetupError, exchange, tls};
use crate::clock;
use crate::config::settings::Environment;

/// How long a name may take.
const RESOLVE: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Certificates that live longer are not looked at more closely.
const HORIZON_DAYS: u64 = 3650;
const DAY: u64 = 24 * 3600;

/// Where the backend is.
#[derive(Debug)]
pub struct Reach {
    host: String,
    port: u16,
    connect_timeout: Duration,
    /// Only for https.
    tls: Option<(Arc<ClientConfig>, Arc<RootCertStore>)>,
}

/// A chain of certificates that is good now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// For how many whole days from now it stays good; at most ten years.
    pub days_left: u64,
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Either side said no: mostly a certificate that is not trusted.
    #[error("the handshake was refused")]
    Refused(#[source] rustls::Error),
    /// The connection.
    #[error("the connection ended")]
    Io(#[source] io::Error),
    /// Nothing came in time.
    #[error("no answer to the handshake within {} s", HANDSHAKE.as_secs())]
    TimedOut,
}

impl Reach {
    /// The way to the configured environment.
    ///
    /// # Errors
    /// If the URL or the CA file cannot be used.
    pub fn new(environment: &Environment) -> Result<Self, HttpSetupError> {
        let origin = Origin::parse(&environment.url)?;
        let (host, port) = origin.host_and_port();
        let tls = if origin.is_https() {
            let ca_file = environment.ca_file.as_deref();
            let config = tls::client_config(&origin, ca_file)?;
            Some((Arc::new(config), Arc::new(tls::roots(&origin, ca_file)?)))
        } else {
            None
        };
        Ok(Self { host: host.to_owned(), port, connect_timeout: environment.connect_timeout, tls })
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.tls.is_some()
    }

    /// Looks the name up.
    ///
    /// # Errors
    /// If there is no such name, or no answer in ten seconds.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = within(RESOLVE, tokio::net::lookup_host((self.host.as_str(), self.port))).await?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(addresses) }
    }

    /// Connects to the first of the addresses that takes it.
    ///
    /// # Errors
    /// What the last address said.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match within(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Shakes hands and looks at the certificates; `None` where no TLS is spoken.
    ///
    /// # Errors
    /// If the chain is not trusted, or nobody speaks TLS there.
    pub async fn shake_hands(&self, stream: TcpStream) -> Result<Option<Chain>, HandshakeError> {
        let Some((config, roots)) = &self.tls else { return Ok(None) };
        let refused = |why: &str| HandshakeError::Refused(rustls::Error::General(why.to_owned()));
        let name = ServerName::try_from(self.host.clone()).map_err(|_wrong| refused("no certificate can be for it"))?;
        let mut connection =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(HandshakeError::Refused)?;
        exchange::first(pin!(handshake(stream, &mut connection)), pin!(clock::sleep(HANDSHAKE)))
            .await
            .unwrap_or(Err(HandshakeError::TimedOut))?;
        let certificates = connection.peer_certificates().unwrap_or_default();
        let days_left = days_left(roots, certificates, &name).map_err(HandshakeError::Refused)?;
        Ok(Some(Chain { days_left }))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
    exchange::first(pin!(work), pin!(clock::sleep(limit))).await.unwrap_or_else(|()| Err(late()))
}

async fn handshake(mut stream: TcpStream, connection: &mut ClientConnection) -> Result<(), HandshakeError> {
    let mut buffer = vec![0; 16 * 1024];
    while connection.is_handshaking() {
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).map_err(HandshakeError::Io)?;
        }
        stream.write_all(&out).await.map_err(HandshakeError::Io)?;
        let count = stream.read(&mut buffer).await.map_err(HandshakeError::Io)?;
        if count == 0 {
            return Err(HandshakeError::Io(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        let mut come = buffer.get(..count).unwrap_or_default();
        while !come.is_empty() {
            connection.read_tls(&mut come).map_err(HandshakeError::Io)?;
            connection.process_new_packets().map_err(HandshakeError::Refused)?;
        }
    }
    Ok(())
}

/// For how long a chain stays good: found by asking the verifier itself about later days, so that every certificate of the chain
/// counts, and no other reading of them than the one that decides.
fn days_left(
    roots: &Arc<RootCertStore>,
    certificates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Result<u64, rustls::Error> {
    let Some((first, others)) = certificates.split_first() else { return Err(rustls::Error::NoCertificatesPresented) };
    let provider = tls::provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let now = u64::try_from(clock::wall().as_second()).unwrap_or_default();
    let is_good_in = |days: u64| {
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now + days * DAY));
        verifier.verify_server_cert(first, others, name, &[], then).is_ok()
    };
    let (mut good, mut bad) = (0, HORIZON_DAYS + 1);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if is_good_in(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}
