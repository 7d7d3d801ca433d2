//! A registry of the tests' own, on a free port of 127.0.0.1: what `docker push` and `docker pull` need, plain or with TLS.
//!
//! Source: OCI Distribution Specification 1.1, sections "Pull" and "Push". Nothing is checked, deleted or listed.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

use crate::authority::Identity;
use crate::registry::http::{Request, Response};

mod http;

/// A running registry. It serves until the test's process ends.
#[derive(Debug)]
pub struct Registry {
    port: u16,
}

/// What was pushed.
#[derive(Debug, Default)]
struct Store {
    uploads: Vec<Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    /// Media type and content by `NAME/REFERENCE`, where the reference is a tag or a digest.
    manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Registry {
    /// Starts a registry, with TLS if it has an identity.
    ///
    /// # Errors
    /// When no port is free or the identity is none.
    pub fn start(identity: Option<&Identity>) -> Result<Self> {
        let tls = identity.map(tls_config).transpose().context("reading the registry's certificate")?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("opening a port for the registry")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || serve(&listener, tls.as_ref()));
        Ok(Self { port })
    }

    /// Returns the port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn tls_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(identity.cert.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?))
}

fn serve(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
    let store = Arc::new(Mutex::new(Store::default()));
    for socket in listener.incoming().flatten() {
        let (store, tls) = (Arc::clone(&store), tls.cloned());
        // A client that goes away or does not trust us ends its own thread only.
        thread::spawn(move || talk(socket, tls, &store).ok());
    }
}

fn talk(socket: TcpStream, tls: Option<Arc<ServerConfig>>, store: &Mutex<Store>) -> Result<()> {
    match tls {
        Some(config) => answer_all(StreamOwned::new(ServerConnection::new(config)?, socket), store),
        None => answer_all(socket, store),
    }
}

fn answer_all(stream: impl Read + Write, store: &Mutex<Store>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = http::read(&mut stream)? {
        let is_head = request.method == "HEAD";
        let response = store.lock().unwrap_or_else(PoisonError::into_inner).answer(request);
        response.write(stream.get_mut(), is_head)?;
    }
    Ok(())
}

impl Store {
    fn answer(&mut self, request: Request) -> Response {
        let Request { method, path, query, content_type, body } = request;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["v2"]) => Response::new(200).body("application/json", b"{}".into()),
            ("POST", ["v2", .., "blobs", "uploads"]) => {
                self.uploads.push(Vec::new());
                let place = format!("{}/{}", path.trim_end_matches('/'), self.uploads.len() - 1);
                Response::new(202).header("Location", &place)
            }
            ("PATCH", ["v2", .., "blobs", "uploads", at]) => match self.upload(at) {
                Some(upload) => {
                    upload.extend(body);
                    let range = format!("0-{}", upload.len().saturating_sub(1));
                    Response::new(202).header("Location", &path).header("Range", &range)
                }
                None => Response::new(404),
            },
            ("PUT", ["v2", .., "blobs", "uploads", at]) => match self.upload(at) {
                Some(upload) => {
                    upload.extend(body);
                    let blob = std::mem::take(upload);
                    let digest = digest(&blob);
                    let is_asked_for = query.replace("%3A", ":").contains(&format!("digest={digest}"));
                    self.blobs.insert(digest.clone(), blob);
                    Response::new(if is_asked_for { 201 } else { 400 })
                        .header("Docker-Content-Digest", &digest)
                }
                None => Response::new(404),
            },
            ("HEAD" | "GET", ["v2", .., "blobs", digest]) => match self.blobs.get(*digest) {
                Some(blob) => Response::new(200)
                    .header("Docker-Content-Digest", digest)
                    .body("application/octet-stream", blob.clone()),
                None => Response::new(404),
            },
            ("PUT", ["v2", name @ .., "manifests", reference]) => {
                let (name, digest) = (name.join("/"), digest(&body));
                for reference in [*reference, &digest] {
                    let content = (content_type.clone(), body.clone());
                    self.manifests.insert(format!("{name}/{reference}"), content);
                }
                Response::new(201).header("Docker-Content-Digest", &digest)
            }
            ("HEAD" | "GET", ["v2", name @ .., "manifests", reference]) => {
                match self.manifests.get(&format!("{}/{reference}", name.join("/"))) {
                    Some((media_type, manifest)) => Response::new(200)
                        .header("Docker-Content-Digest", &digest(manifest))
                        .body(media_type, manifest.clone()),
                    None => Response::new(404),
                }
            }
            _ => Response::new(404),
        }
    }

    fn upload(&mut self, at: &str) -> Option<&mut Vec<u8>> {
        self.uploads.get_mut(at.parse::<usize>().ok()?)
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(store: &mut Store, method: &str, target: &str, body: &[u8]) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        store.answer(Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            content_type: "application/x".to_owned(),
            body: body.into(),
        })
    }

    #[test]
    fn what_is_pushed_is_pulled() {
        let mut store = Store::default();
        let sum = digest(b"ab");
        assert_eq!(sum, "sha256:fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603");
        let blob = format!("/v2/a/b/blobs/{sum}");
        assert_eq!(ask(&mut store, "HEAD", &blob, b"").status(), 404);
        assert_eq!(ask(&mut store, "POST", "/v2/a/b/blobs/uploads/", b"").status(), 202);
        assert_eq!(ask(&mut store, "PATCH", "/v2/a/b/blobs/uploads/0", b"a").status(), 202);
        let put = format!("/v2/a/b/blobs/uploads/0?digest={}", sum.replace(':', "%3A"));
        assert_eq!(ask(&mut store, "PUT", &put, b"b").status(), 201);
        let expected = Response::new(200).header("Docker-Content-Digest", &sum);
        assert_eq!(
            ask(&mut store, "GET", &blob, b""),
            expected.clone().body("application/octet-stream", b"ab".into())
        );
        assert_eq!(ask(&mut store, "PUT", "/v2/a/b/manifests/latest", b"ab").status(), 201);
        for reference in ["latest", &sum] {
            let answer = ask(&mut store, "GET", &format!("/v2/a/b/manifests/{reference}"), b"");
            assert_eq!(answer, expected.clone().body("application/x", b"ab".into()), "{reference}");
        }
        assert_eq!(ask(&mut store, "GET", "/v2/a/c/manifests/latest", b"").status(), 404);
    }
}
