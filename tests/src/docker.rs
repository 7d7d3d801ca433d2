//! The Docker API over TLS, with the client certificate that the guest hands out.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::Deadline;

/// A client's TLS material, in PEM.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub ca: Vec<u8>,
    /// The client's certificate.
    pub cert: Vec<u8>,
    /// The client's key.
    pub key: Vec<u8>,
}

impl Certificates {
    /// Reads the archive of `tar c /home/docker/.docker/*.pem`, which is how boot2docker-cli fetches them.
    ///
    /// # Errors
    /// When the archive is broken or one of the three is missing.
    pub fn from_tar(archive: &[u8]) -> Result<Self> {
        let mut found = Self::default();
        for entry in tar::Archive::new(archive).entries().context("reading the archive of certificates")? {
            let mut entry = entry.context("reading the archive of certificates")?;
            let path = entry.path()?.into_owned();
            let place = match path.file_name().and_then(|name| name.to_str()) {
                Some("ca.pem") => &mut found.ca,
                Some("cert.pem") => &mut found.cert,
                Some("key.pem") => &mut found.key,
                _ => continue,
            };
            entry.read_to_end(place).with_context(|| format!("reading {}", path.display()))?;
        }
        for (name, pem) in [("ca", &found.ca), ("cert", &found.cert), ("key", &found.key)] {
            ensure!(!pem.is_empty(), "reading the archive of certificates: no {name}.pem in it");
        }
        Ok(found)
    }
}

/// A guest's Docker daemon.
#[derive(Debug)]
pub struct Docker {
    agent: Agent,
    port: u16,
}

impl Docker {
    /// Prepares requests to `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When a certificate is not one.
    pub fn new(port: u16, certificates: &Certificates) -> Result<Self> {
        let client = ClientCert::new_with_certs(
            &[Certificate::from_pem(&certificates.cert).context("reading cert.pem")?],
            PrivateKey::from_pem(&certificates.key).context("reading key.pem")?,
        );
        let authority = Certificate::from_pem(&certificates.ca).context("reading ca.pem")?;
        let tls = TlsConfig::builder()
            .client_cert(Some(client))
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .build();
        Ok(Self { agent: agent(tls), port })
    }

    /// Prepares requests by somebody without certificate, who believes any server.
    #[must_use]
    pub fn stranger(port: u16) -> Self {
        Self { agent: agent(TlsConfig::builder().disable_verification(true).build()), port }
    }

    /// Asks `GET /_ping`.
    ///
    /// # Errors
    /// When the daemon does not answer `OK`.
    pub fn ping(&self) -> Result<()> {
        let mut response = self.agent.get(self.url("/_ping")).call().context("asking Docker: GET /_ping")?;
        let body = response.body_mut().read_to_string()?;
        ensure!(body == "OK", "asking Docker: GET /_ping: status {}: {body:?}", response.status());
        Ok(())
    }

    /// Returns the answer to `GET path`.
    ///
    /// # Errors
    /// When the daemon refuses, with its words.
    pub fn get(&self, path: &str) -> Result<Value> {
        let response = self.agent.get(self.url(path)).call();
        read(response).with_context(|| format!("asking Docker: GET {path}"))
    }

    /// Returns the answer to `POST path` with a JSON body.
    ///
    /// # Errors
    /// When the daemon refuses, with its words.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response =
            self.agent.post(self.url(path)).header("content-type", "application/json").send(body.to_string());
        read(response).with_context(|| format!("asking Docker: POST {path}"))
    }

    /// Returns the answer to `POST path` with an archive as its body: lines of JSON.
    ///
    /// # Errors
    /// When the daemon refuses, with its words.
    pub fn post_archive(&self, path: &str, archive: &[u8]) -> Result<String> {
        let request = self.agent.post(self.url(path)).header("content-type", "application/x-tar");
        let mut response = request.send(archive).with_context(|| format!("asking Docker: POST {path}"))?;
        let body = response.body_mut().read_to_string()?;
        ensure!(response.status().is_success(), "asking Docker: POST {path}: {body}");
        Ok(body)
    }

    /// Waits until `container` has written `text` to its log `times` times.
    ///
    /// # Errors
    /// When the daemon refuses, or it does not happen in time; the text holds the log so far.
    pub fn await_log(&self, container: &str, text: &str, times: usize) -> Result<()> {
        let path = format!("/containers/{container}/logs?follow=1&stdout=1&stderr=1");
        let mut response =
            self.agent.get(self.url(&path)).call().with_context(|| format!("asking Docker: GET {path}"))?;
        let (mut log, mut stream, mut buffer) = (Vec::new(), response.body_mut().as_reader(), [0; 4096]);
        loop {
            let count = stream.read(&mut buffer);
            let said = String::from_utf8_lossy(&log);
            let awaited = || format!("awaiting {text:?} in the log of {container}, which says {said:?}");
            let count = count.with_context(awaited)?;
            ensure!(count > 0, "{}: it ended", awaited());
            log.extend_from_slice(&buffer[..count]);
            if String::from_utf8_lossy(&log).matches(text).count() >= times {
                return Ok(());
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

/// Returns the page that a web server on `port` of 127.0.0.1 serves for `/`.
///
/// # Errors
/// When there is none.
pub fn page(port: u16) -> Result<String> {
    let mut response = agent(TlsConfig::default()).get(format!("http://127.0.0.1:{port}/")).call()?;
    let body = response.body_mut().read_to_string()?;
    ensure!(response.status().is_success(), "status {}: {}", response.status(), body.trim());
    Ok(body)
}

fn agent(tls: TlsConfig) -> Agent {
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(Deadline::reply().limit()))
        .proxy(None)
        .build()
        .new_agent()
}

fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
    let mut response = response?;
    let body = response.body_mut().read_to_string()?;
    ensure!(response.status().is_success(), "status {}: {}", response.status(), body.trim());
    if body.is_empty() {
        return Ok(Value::Null); // 204
    }
    serde_json::from_str(&body).with_context(|| format!("reading {body:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn certificates_come_out_of_the_archive_by_file_name() {
        let files: [(&str, &[u8]); 3] = [
            ("home/docker/.docker/ca.pem", b"A"),
            ("home/docker/.docker/cert.pem", b"B"),
            ("home/docker/.docker/key.pem", b"C"),
        ];
        let expected = Certificates { ca: b"A".into(), cert: b"B".into(), key: b"C".into() };
        assert_eq!(Certificates::from_tar(&archive(&files)).unwrap(), expected);
        let error = Certificates::from_tar(&archive(&files[..2])).unwrap_err();
        assert_eq!(format!("{error:#}"), "reading the archive of certificates: no key.pem in it");
    }
}
