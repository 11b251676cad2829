//! TLS: certificate files become the configuration of a connection anew each time, so that a renewed certificate counts
//! without a restart.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// Mode bits of users who are neither the owner nor of the owner's group.
const OTHERS: u32 = 0o007;

/// The files behind a TLS connection to a server, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that may have signed the server's; `None` trusts those of the system.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key of this client, for servers that ask for one.
    pub client: Option<ClientFiles>,
}

/// How this client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, without a passphrase.
    pub key: PathBuf,
}

/// The files as they are now.
#[derive(Clone)]
pub struct Loaded {
    /// For the connection.
    pub config: Arc<ClientConfig>,
    /// Changes with every byte of the files.
    pub fingerprint: [u8; 32],
    /// What is not wrong and should not stay so.
    pub warnings: Vec<String>,
}

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not there, or not for us.
    #[error("{key} {path}: {source}; let the service's user read it, or hand it over as a credential of the unit")]
    Read {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A PEM file without what it should hold.
    #[error("{key} {path} holds no {what}; it must be a PEM file with \"-----BEGIN …-----\"")]
    Empty {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// PEM around something else, or cut off.
    #[error("{key} {path} cannot be understood: {reason}; write it again from where it was issued")]
    Damaged {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody is there to type a passphrase.
    #[error("{key} {path} is protected by a passphrase; take it off with: openssl pkey -in FILE -out FILE")]
    Passphrase {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Two files of different renewals, or of different clients.
    #[error("client_key {key} does not fit client_certificate {certificate}; both must come from the same request")]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The same of a server.
    #[error("--key {key} does not fit --certificate {certificate}; both must come from the same request")]
    ServerMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// No authority is configured, and the system has none.
    #[error("this system trusts no certificate authorities; name the server's as ca, or install ca-certificates")]
    NoSystemRoots,
    /// Something that the TLS library refuses.
    #[error("TLS cannot be set up; see the cause")]
    Setup(#[source] rustls::Error),
}

impl TlsFiles {
    /// Reads every file and builds the configuration of a connection from them.
    pub fn load(&self) -> Result<Loaded, TlsError> {
        let mut hash = Sha256::new();
        let mut warnings = Vec::new();
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates("ca", path, &read("ca", path, &mut hash)?)? {
                    roots.add(certificate).map_err(|error| damaged("ca", path, &error))?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
                if roots.is_empty() {
                    return Err(TlsError::NoSystemRoots);
                }
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots);
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(ClientFiles { certificate, key }) => {
                let setting = "client_certificate";
                let chain = certificates(setting, certificate, &read(setting, certificate, &mut hash)?)?;
                let private = private_key("client_key", key, &read("client_key", key, &mut hash)?)?;
                warnings.extend(exposed(key));
                builder.with_client_auth_cert(chain, private).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        TlsError::Mismatch { certificate: certificate.clone(), key: key.clone() }
                    }
                    error => damaged("client_key", key, &error),
                })?
            }
        };
        Ok(Loaded { config: Arc::new(config), fingerprint: hash.finalize().into(), warnings })
    }
}

/// The files behind a server that speaks TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Certificate of the server, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, without a passphrase.
    pub key: PathBuf,
    /// Certificates of the authorities one of which must have signed a client's; `None` asks no client for one.
    pub client_ca: Option<PathBuf>,
}

impl ServerFiles {
    /// Reads every file and builds the configuration of a connection from them, for these protocols of ALPN.
    pub fn load(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let mut hash = Sha256::new();
        let (setting, key_setting, ca_setting) = ("--certificate", "--key", "--client-ca");
        let chain = certificates(setting, &self.certificate, &read(setting, &self.certificate, &mut hash)?)?;
        let private = private_key(key_setting, &self.key, &read(key_setting, &self.key, &mut hash)?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca_setting, path, &read(ca_setting, path, &mut hash)?)? {
                    roots.add(certificate).map_err(|error| damaged(ca_setting, path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| damaged(ca_setting, path, &error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::ServerMismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            error => damaged(key_setting, &self.key, &error),
        })?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn read(key: &'static str, path: &Path, hash: &mut Sha256) -> Result<Vec<u8>, TlsError> {
    let bytes = fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })?;
    // The length keeps the border between two files apart from their bytes.
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(&bytes);
    Ok(bytes)
}

fn damaged(key: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Damaged { key, path: path.to_owned(), reason: reason.to_string() }
}

fn certificates(key: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| damaged(key, path, &error))?;
    if found.is_empty() {
        return Err(TlsError::Empty { key, path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

fn private_key(key: &'static str, path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let says = |text: &str| pem.windows(text.len()).any(|window| window == text.as_bytes());
    if says("-----BEGIN ENCRYPTED PRIVATE KEY-----") || says("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::Passphrase { key, path: path.to_owned() });
    }
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(read) => read.map_err(|error| damaged(key, path, &error)),
        None => Err(TlsError::Empty { key, path: path.to_owned(), what: "private key" }),
    }
}

/// A key that everybody on this computer can read is no secret.
fn exposed(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & OTHERS != 0).then(|| {
        format!(
            "client_key {}: every user of this computer may use it (mode {:o}); chmod 0640",
            key.display(),
            mode & 0o777
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `load` says about a file with this text in the place of `ca`, then of the key.
    fn complaints(text: &str) -> [String; 2] {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("x.pem");
        fs::write(&file, text).expect("written");
        let ca = TlsFiles { ca: Some(file.clone()), client: None };
        let ca = ca.load().err().map(|error| error.to_string()).unwrap_or_default();
        let key =
            private_key("client_key", &file, text.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
        [ca, key].map(|said| said.replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn a_file_without_pem_is_named() {
        let [ca, key] = complaints("");
        assert_eq!(ca, "ca FILE holds no certificate; it must be a PEM file with \"-----BEGIN …-----\"");
        assert_eq!(key, "client_key FILE holds no private key; it must be a PEM file with \"-----BEGIN …-----\"");
    }

    #[test]
    fn nonsense_inside_pem_is_named() {
        let [ca, _] = complaints("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(ca.starts_with("ca FILE cannot be understood: "), "{ca}");
        let [_, key] = complaints("-----BEGIN PRIVATE KEY-----\nAAAA\n");
        assert!(key.starts_with("client_key FILE cannot be understood: "), "{key}");
        let [_, key] = complaints("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        assert!(key.contains("passphrase"), "{key}");
    }

    #[test]
    fn a_missing_file_is_named_with_its_setting() {
        let ca = TlsFiles { ca: Some("/nonexistent/ca.pem".into()), client: None };
        let said = ca.load().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("ca /nonexistent/ca.pem: No such file"), "{said}");
    }
}
