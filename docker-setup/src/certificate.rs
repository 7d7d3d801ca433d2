//! Reads what a certificate and its key say, from their PEM bytes. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use rcgen::{KeyPair, PublicKeyData};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A name a server certificate is valid for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Host name.
    Dns(String),
    /// Address.
    Ip(IpAddr),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

/// A certificate with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Neither is there.
    Missing,
    /// They are of no use; the text says why.
    Broken(String),
    /// The certificate can be used.
    Whole(Certificate),
}

/// What counts about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// First second of validity, since 1970.
    pub not_before: i64,
    /// Last second of validity, since 1970.
    pub not_after: i64,
    /// Names it is valid for.
    pub names: BTreeSet<Name>,
    /// Its signature is the given authority's.
    pub is_of_authority: bool,
    /// Its key can sign others: it is there, and of a kind we can use.
    pub can_sign: bool,
}

/// Returns what a certificate and its key are; `authority` is the certificate that should have signed it, by itself
/// if None.
pub fn inspect(certificate: Option<&[u8]>, key: Option<&[u8]>, authority: Option<&[u8]>) -> Pair {
    let Some(pem) = certificate else {
        return if key.is_some() {
            Pair::Broken("key without certificate".to_owned())
        } else {
            Pair::Missing
        };
    };
    let Some(key) = key else { return Pair::Broken("certificate without key".to_owned()) };
    match read(pem, key, authority.unwrap_or(pem)) {
        Ok(certificate) => Pair::Whole(certificate),
        Err(reason) => Pair::Broken(reason),
    }
}

/// Returns the last second of validity of the first certificate in a file, or None if there is none.
pub fn end_of(pem: &[u8]) -> Option<i64> {
    let der = der(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn read(pem: &[u8], key: &[u8], authority: &[u8]) -> Result<Certificate, String> {
    let der = der(pem)?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|error| format!("certificate: {error}"))?;
    let can_sign = has_key(&certificate, key)?;
    let mut names = BTreeSet::new();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        names.extend(extension.value.general_names.iter().filter_map(name));
    }
    let authority_der = self::der(authority)?;
    let is_of_authority = X509Certificate::from_der(&authority_der)
        .is_ok_and(|(_, authority)| certificate.verify_signature(Some(authority.public_key())).is_ok());
    Ok(Certificate {
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        names,
        is_of_authority,
        can_sign,
    })
}

fn der(pem: &[u8]) -> Result<Vec<u8>, String> {
    parse_x509_pem(pem).map(|(_, pem)| pem.contents).map_err(|error| format!("certificate: {error}"))
}

/// Returns whether the key can be used by us. Keys in older formats, which only dockerd can read, are believed to belong.
fn has_key(certificate: &X509Certificate<'_>, key: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(key);
    match KeyPair::from_pem(&text) {
        Ok(pair) if pair.der_bytes() == certificate.public_key().subject_public_key.data.as_ref() => Ok(true),
        Ok(_) => Err("key does not belong to certificate".to_owned()),
        Err(_) if text.contains("PRIVATE KEY-----") => Ok(false),
        Err(error) => Err(format!("key: {error}")),
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| Name::Ip(octets.into())),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|octets| Name::Ip(octets.into())),
            _ => None,
        },
        _ => None,
    }
}
