//! Whom we trust: credentials go over a verified chain or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rallyhere_agent::config::settings::Environment;
use rallyhere_agent::core::call::{FailureKind, Login};
use rallyhere_agent::core::ids::Generation;
use rallyhere_agent::io::http::{HttpBackend, HttpSetupError, Limits};
use rallyhere_agent::ports::{Authenticator as _, Backend as _};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::stub::{Step, Stub, ok};
use super::{LONG, client_credentials, environment, logged_in, read};

pub(crate) struct Ca {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Ca { certificate, issuer: Issuer::new(params, key) }
}

/// A server whose certificate is for `name`, signed by `ca` or by itself.
pub(crate) async fn server(name: &str, ca: Option<&Ca>, change: impl FnOnce(&mut CertificateParams)) -> Stub {
    let config = config(name, ca, change);
    Stub::start_with(Some(TlsAcceptor::from(Arc::new(config))), |_, _| vec![Step::Send(ok(r#"{"session_id": "s-1"}"#))])
        .await
}

/// What such a server shows.
pub(crate) fn config(name: &str, ca: Option<&Ca>, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = match ca {
        Some(ca) => params.signed_by(&key, &ca.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap()
}

fn trusting(stub: &Stub, ca_file: &Path) -> Environment {
    Environment { ca_file: Some(ca_file.to_owned()), ..environment(&stub.url) }
}

#[tokio::test]
async fn a_chain_that_ends_in_the_ca_file_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let (ca, other) = (ca(), ca());
    // Several roots in one file are normal.
    std::fs::write(&file, format!("# ours\n{}\n{}", other.certificate.pem(), ca.certificate.pem())).unwrap();
    let stub = server("127.0.0.1", Some(&ca), |_| {}).await;
    let backend = logged_in(&trusting(&stub, &file), Limits::default()).await;
    backend.call(read(), LONG).await.unwrap();
    backend.call(read(), LONG).await.unwrap();
    assert_eq!(stub.connections(), 1);
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_cannot_prove_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let ca = ca();
    std::fs::write(&file, ca.certificate.pem()).unwrap();
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let stranger = super::tls::ca();
    for (what, stub) in [
        ("self-signed", server("127.0.0.1", None, |_| {}).await),
        ("unknown root", server("127.0.0.1", Some(&stranger), |_| {}).await),
        ("expired", server("127.0.0.1", Some(&ca), expired).await),
        ("wrong name", server("other.example", Some(&ca), |_| {}).await),
    ] {
        let backend = logged_in(&trusting(&stub, &file), Limits::default()).await;
        let refused = backend.call(read(), LONG).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unreachable, "{what}: {refused}");
        assert!(refused.detail.contains("certificate"), "{what}: it says why: {refused}");
        let backend = HttpBackend::new(&trusting(&stub, &file), &client_credentials()).unwrap();
        let refused = backend.login(Login::Fresh, Generation(1)).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unreachable, "{what}: {refused}");
        assert!(stub.requests().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn plain_http_behind_an_https_url_is_unreachable() {
    let stub = Stub::start(|_, _| vec![Step::Send(ok("{}"))]).await;
    let url = stub.url.replace("http://", "https://");
    let mut environment = environment(&url);
    environment.connect_timeout = Duration::from_millis(500);
    let refused = logged_in(&environment, Limits::default()).await.call(read(), LONG).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::Unreachable, "{refused}");
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, words) in [
        (dir.path().join("absent.pem"), "absent.pem"),
        (write("empty.pem", ""), "holds no certificate"),
        (write("key.pem", &KeyPair::generate().unwrap().serialize_pem()), "holds no certificate"),
        (write("broken.pem", "-----BEGIN CERTIFICATE-----\nAA\u{0}AA"), "broken.pem"),
        (write("junk.pem", junk), "junk.pem"),
    ] {
        let environment = Environment { ca_file: Some(path), ..environment("https://x.example") };
        let refused: HttpSetupError = HttpBackend::new(&environment, &client_credentials()).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
