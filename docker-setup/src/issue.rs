//! Makes certificates. Keys are ECDSA P-256: made in a millisecond, known to every TLS client since 2010.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::certificate::Name;

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

// By hand: a key must never reach a log.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Seconds since 1970 between which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signing the others.
    Authority,
    /// dockerd, under these names, the first of which is the subject's.
    Server {
        /// Short host name, for the subject.
        host: String,
        /// All names and addresses.
        names: BTreeSet<Name>,
    },
    /// Whoever may use dockerd.
    Client,
}

/// A certificate to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it is for.
    pub purpose: Purpose,
    /// Organisation in its subject.
    pub organisation: String,
    /// When it is valid.
    pub validity: Validity,
}

/// Makes the certificate; `authority` signs it, or it signs itself.
///
/// # Errors
/// When the authority's files cannot be used or a name has characters no certificate can hold.
pub fn issue(order: &Order, authority: Option<&Issued>) -> Result<Issued> {
    let key = KeyPair::generate().context("making a key")?;
    let params = params(order)?;
    let certificate = match authority {
        None => params.self_signed(&key)?,
        Some(authority) => {
            let authority_key = KeyPair::from_pem(&authority.key).context("reading the authority's key")?;
            let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key);
            params.signed_by(&key, &issuer.context("reading the authority's certificate")?)?
        }
    };
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(order: &Order) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = date(order.validity.not_before)?;
    params.not_after = date(order.validity.not_after)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, order.organisation.as_str());
    params.use_authority_key_identifier_extension = true;
    match &order.purpose {
        Purpose::Authority => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        }
        Purpose::Server { host, names } => {
            params.distinguished_name.push(DnType::CommonName, host.as_str());
            params.subject_alt_names = names.iter().map(san).collect::<Result<_>>()?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        Purpose::Client => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
    }
    Ok(params)
}

fn san(name: &Name) -> Result<SanType> {
    Ok(match name {
        Name::Dns(name) => {
            SanType::DnsName(name.as_str().try_into().with_context(|| format!("name {name:?}"))?)
        }
        Name::Ip(address) => SanType::IpAddress(*address),
    })
}

fn date(seconds: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).with_context(|| format!("date {seconds}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Certificate, Pair, inspect};

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    fn order(purpose: Purpose) -> Order {
        Order { purpose, organisation: "Boot2Docker".into(), validity: VALIDITY }
    }

    fn inspected(issued: &Issued, authority: Option<&Issued>) -> Pair {
        let authority = authority.map(|issued| issued.certificate.as_bytes());
        inspect(Some(issued.certificate.as_bytes()), Some(issued.key.as_bytes()), authority)
    }

    #[test]
    fn what_is_issued_is_read_back() {
        let authority = issue(&order(Purpose::Authority), None).unwrap();
        let whole = |names: &BTreeSet<Name>| {
            let Validity { not_before, not_after } = VALIDITY;
            Pair::Whole(Certificate {
                not_before,
                not_after,
                names: names.clone(),
                is_of_authority: true,
                can_sign: true,
            })
        };
        assert_eq!(inspected(&authority, None), whole(&BTreeSet::new()));
        let names: BTreeSet<Name> = [
            Name::Dns("box".into()),
            Name::Ip("10.0.2.15".parse().unwrap()),
            Name::Ip("::1".parse().unwrap()),
        ]
        .into();
        let server = Purpose::Server { host: "box".into(), names: names.clone() };
        let server = issue(&order(server), Some(&authority)).unwrap();
        assert_eq!(inspected(&server, Some(&authority)), whole(&names));
        let client = issue(&order(Purpose::Client), Some(&authority)).unwrap();
        assert_eq!(inspected(&client, Some(&authority)), whole(&BTreeSet::new()));
    }

    #[test]
    fn pairs_that_are_of_no_use_are_told_apart() {
        let authority = issue(&order(Purpose::Authority), None).unwrap();
        let other = issue(&order(Purpose::Authority), None).unwrap();
        let client = issue(&order(Purpose::Client), Some(&authority)).unwrap();
        let Pair::Whole(foreign) = inspected(&client, Some(&other)) else { panic!("not whole") };
        assert!(!foreign.is_of_authority);
        let swapped = Issued { key: other.key, ..client.clone() };
        assert_eq!(
            inspected(&swapped, Some(&authority)),
            Pair::Broken("key does not belong to certificate".into())
        );
        let pem = client.certificate.as_bytes();
        assert_eq!(inspect(Some(pem), None, None), Pair::Broken("certificate without key".into()));
        assert_eq!(inspect(None, Some(b"x"), None), Pair::Broken("key without certificate".into()));
        assert_eq!(inspect(None, None, None), Pair::Missing);
        assert!(matches!(inspect(Some(b"junk"), Some(b"junk"), None), Pair::Broken(_)));
        assert!(matches!(inspect(Some(pem), Some(b""), None), Pair::Broken(_)));
    }
}
