//! Whom we trust: the machine's roots, or those of Mozilla where it has none, and `environment.ca_file` besides.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, RootCertStore};

use super::HttpSetupError;
use super::origin::Origin;

/// What ring can do, but for signing: nobody asks for a certificate of ours, and what signs is as large as what verifies.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { key_provider: &NoKeys, ..rustls::crypto::ring::default_provider() })
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this program has no key of its own".to_owned()))
    }
}

/// TLS 1.2 and 1.3 with ring. No ALPN: without an offer every server speaks HTTP/1.1; a lane that speaks HTTP/2 makes its own.
pub(super) fn client_config(origin: &Origin, ca_file: Option<&Path>) -> Result<ClientConfig, HttpSetupError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(HttpSetupError::Tls)?
        .with_root_certificates(roots(origin, ca_file)?)
        .with_no_client_auth())
}

/// The certificates at which a chain may end.
pub(super) fn roots(origin: &Origin, ca_file: Option<&Path>) -> Result<RootCertStore, HttpSetupError> {
    let mut roots = RootCertStore::empty();
    // Over plain loopback nobody is asked for a certificate, and a hundred roots are memory.
    if origin.is_https() {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            tracing::warn!(
                errors = native.errors.len(),
                "this machine has no trusted root certificates; using the built-in ones (install ca-certificates)"
            );
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), HttpSetupError> {
    let unreadable = |source| HttpSetupError::CaFile { path: path.to_owned(), source };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|source| HttpSetupError::CaFileCertificate { path: path.to_owned(), source })?;
        found = true;
    }
    if found { Ok(()) } else { Err(HttpSetupError::CaFileEmpty { path: path.to_owned() }) }
}
