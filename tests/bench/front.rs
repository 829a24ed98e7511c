//! What stands before the simulated backend: it takes the TLS off, and HTTP/2 where that is offered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How many streams a connection takes at a time: nginx's and Envoy's number is 128 or 100, a load balancer's 128.
const STREAMS: u32 = 100;

/// A front that offers HTTP/1.1 only, one that offers HTTP/2 too, and the certificate of both, as PEM.
pub(crate) fn acceptors() -> ([TlsAcceptor; 2], String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let acceptor = |protocols: &[&str]| {
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    };
    ([acceptor(&[]), acceptor(&["h2", "http/1.1"])], certificate.pem())
}

/// Takes the TLS off and passes the rest on, request by request where it is HTTP/2.
pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, http: reqwest::Client) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, http) = (acceptor.clone(), http.clone());
        connections.spawn(async move {
            let Ok(mut outside) = acceptor.accept(stream).await else { return };
            // An end in the middle is the other side's: a killed process, mostly.
            if outside.get_ref().1.alpn_protocol() == Some(b"h2") {
                let service = service_fn(|request| pass(request, to, http.clone()));
                let mut server = http2::Builder::new(TokioExecutor::new());
                let _ended =
                    server.max_concurrent_streams(STREAMS).serve_connection(TokioIo::new(outside), service).await;
            } else if let Ok(mut inside) = TcpStream::connect(to).await {
                let _ended = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

async fn pass(
    request: Request<Incoming>,
    to: SocketAddr,
    http: reqwest::Client,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let sent = http.request(head.method, format!("http://{to}{path}")).headers(head.headers).body(body).send().await;
    let Ok(answer) = sent else {
        return Ok(Response::builder().status(502).body(Full::default()).unwrap());
    };
    let mut response = Response::builder().status(answer.status());
    // What is the connection's own means nothing on another.
    for (name, value) in
        answer.headers().iter().filter(|(name, _)| *name != "connection" && *name != "transfer-encoding")
    {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.bytes().await.unwrap_or_default())).unwrap())
}
