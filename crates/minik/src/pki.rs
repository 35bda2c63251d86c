//! The cluster's keys and certificates: a CA made at the first start, and what it signs.
//!
//! **Contract**: ECDSA P-256 throughout. The CA, the token key and the administrator's certificate are kept in the
//! profile (files 0600, folder 0700); the serving certificate is made anew at every start, because the machine's
//! addresses may have changed. Nothing here is ever logged.
//! **Upstream**: kubeadm's `certs` phase; validity periods are its defaults.

use anyhow::{Context as _, Result};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// kubeadm's `CertificateAuthorityDuration`.
const CA_YEARS: i16 = 10;
/// kubeadm's `CertificateDuration` is a year; a local cluster has nobody to renew it, so it lives as long as its CA.
const LEAF_YEARS: i16 = 10;

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The key, PKCS#8.
    pub key: String,
}

/// What a cluster keeps.
#[derive(Clone)]
pub struct Pki {
    /// Signs everything else.
    pub ca: Identity,
    /// The administrator, member of `system:masters`.
    pub admin: Identity,
    /// Signs service account tokens (PKCS#8).
    pub token_key: String,
    /// Signs the certificates of proxies that speak for others in `X-Remote-*` headers.
    pub front_proxy_ca: Identity,
    /// The API server itself as such a proxy, towards the servers of aggregated APIs.
    pub front_proxy: Identity,
}

impl Pki {
    /// A new CA and what belongs to it.
    pub fn generate(now: Timestamp, rng: &component_base::Rng) -> Result<Self> {
        let ca = authority("minik-ca", now, rng)?;
        let admin = client(&ca, "kubernetes-admin", Some("system:masters"), now, rng)?;
        let token_key = KeyPair::generate().context("make the token key")?.serialize_pem();
        let (front_proxy_ca, front_proxy) = front_proxy(now, rng)?;
        Ok(Self { ca, admin, token_key, front_proxy_ca, front_proxy })
    }

    /// Reads what an earlier start has kept in this folder, or makes it.
    pub fn load_or_generate(dir: &Path, now: Timestamp, rng: &component_base::Rng) -> Result<Self> {
        if dir.join("ca.crt").exists() {
            if !dir.join("front-proxy-ca.crt").exists() {
                // A profile from before there was one.
                let (ca, client) = front_proxy(now, rng)?;
                save(dir, &front_proxy_files(&ca, &client))?;
            }
            return Self::load(dir);
        }
        let pki = Self::generate(now, rng)?;
        pki.save(dir)?;
        Ok(pki)
    }

    /// Reads what an earlier start has kept in this folder.
    pub fn load(dir: &Path) -> Result<Self> {
        let read = |file: &str| {
            let path = dir.join(file);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            ca: Identity { cert: read("ca.crt")?, key: read("ca.key")? },
            admin: Identity { cert: read("admin.crt")?, key: read("admin.key")? },
            token_key: read("sa.key")?,
            front_proxy_ca: Identity { cert: read("front-proxy-ca.crt")?, key: read("front-proxy-ca.key")? },
            front_proxy: Identity {
                cert: read("front-proxy-client.crt")?,
                key: read("front-proxy-client.key")?,
            },
        })
    }

    fn save(&self, dir: &Path) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("create {}", dir.display()))?;
        save(dir, &front_proxy_files(&self.front_proxy_ca, &self.front_proxy))?;
        // The CA's certificate comes last: with it the folder counts as complete.
        save(
            dir,
            &[
                ("sa.key", &self.token_key),
                ("admin.key", &self.admin.key),
                ("admin.crt", &self.admin.cert),
                ("ca.key", &self.ca.key),
                ("ca.crt", &self.ca.cert),
            ],
        )
    }

    /// A serving certificate for these names and addresses.
    pub fn serving(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
        rng: &component_base::Rng,
    ) -> Result<Identity> {
        let mut params = CertificateParams::new(names.to_vec()).context("a name of the server")?;
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.distinguished_name = name("kube-apiserver", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        sign(&self.ca, params, now, rng)
    }
}

/// Writes files that only their owner may read.
fn save(dir: &Path, files: &[(&str, &String)]) -> Result<()> {
    for (file, pem) in files {
        let path = dir.join(file);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        file.write_all(pem.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The authority's certificate comes last here, too.
fn front_proxy_files<'a>(ca: &'a Identity, client: &'a Identity) -> [(&'static str, &'a String); 4] {
    [
        ("front-proxy-client.key", &client.key),
        ("front-proxy-client.crt", &client.cert),
        ("front-proxy-ca.key", &ca.key),
        ("front-proxy-ca.crt", &ca.cert),
    ]
}

/// An authority that signs itself.
fn authority(common: &str, now: Timestamp, rng: &component_base::Rng) -> Result<Identity> {
    let key = KeyPair::generate().context("make the CA's key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    validity(&mut params, now, CA_YEARS, rng);
    let cert = params.self_signed(&key).context("make the CA's certificate")?;
    Ok(Identity { cert: cert.pem(), key: key.serialize_pem() })
}

/// The authority for proxies and our own certificate of it; names are kubeadm's.
fn front_proxy(now: Timestamp, rng: &component_base::Rng) -> Result<(Identity, Identity)> {
    let ca = authority("front-proxy-ca", now, rng)?;
    let own = client(&ca, "front-proxy-client", None, now, rng)?;
    Ok((ca, own))
}

/// A client certificate.
fn client(
    ca: &Identity,
    user: &str,
    group: Option<&str>,
    now: Timestamp,
    rng: &component_base::Rng,
) -> Result<Identity> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(user, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(ca, params, now, rng)
}

fn sign(
    ca: &Identity,
    mut params: CertificateParams,
    now: Timestamp,
    rng: &component_base::Rng,
) -> Result<Identity> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    validity(&mut params, now, LEAF_YEARS, rng);
    let ca_key = KeyPair::from_pem(&ca.key).context("read the CA's key")?;
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, ca_key).context("read the CA's certificate")?;
    let key = KeyPair::generate().context("make a key")?;
    let cert = params.signed_by(&key, &issuer).context("sign a certificate")?;
    Ok(Identity { cert: cert.pem(), key: key.serialize_pem() })
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

/// From yesterday, for clocks that disagree, to so many years from now.
fn validity(params: &mut CertificateParams, now: Timestamp, years: i16, rng: &component_base::Rng) {
    let date = now.to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(date.saturating_sub(1.day()));
    params.not_after = day(date.saturating_add(years.years()));
    params.serial_number = Some(SerialNumber::from(rng.below(u64::MAX)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::Rng;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keeps_what_it_made_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let pki = dir.path().join("pki");
        let made = Pki::load_or_generate(&pki, Timestamp::UNIX_EPOCH, &Rng::seeded(1)).expect("made");
        let read = Pki::load_or_generate(&pki, Timestamp::UNIX_EPOCH, &Rng::seeded(2)).expect("read");
        assert_eq!(made.ca.cert, read.ca.cert);
        assert_eq!(made.token_key, read.token_key);
        for file in ["ca.key", "sa.key", "admin.key"] {
            let mode = fs::metadata(pki.join(file)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn signs_a_serving_certificate() {
        let rng = Rng::seeded(1);
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let pki = Pki::generate(now, &rng).expect("made");
        let names = ["localhost".to_owned()];
        let serving =
            pki.serving(&names, &["127.0.0.1".parse().expect("an address")], now, &rng).expect("signed");
        assert!(serving.cert.starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
