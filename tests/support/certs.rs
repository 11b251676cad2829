//! Certificates made at the moment they are needed, by Debian's `openssl`: authorities, and what they have signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nothing of the system's openssl.cnf: the requests say everything themselves.
const CONFIG: &str = "[req]\ndistinguished_name=dn\n[dn]\n[ca]\ndefault_ca=a\n[a]\ndatabase=DIR/index\nserial=DIR/serial\n\
                      new_certs_dir=DIR\ndefault_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n";

fn openssl(folder: &Path, arguments: &[&str]) {
    let config = folder.join("openssl.cnf");
    if !config.exists() {
        fs::write(&config, CONFIG.replace("DIR", &folder.display().to_string())).expect("writable");
        fs::write(folder.join("index"), "").expect("writable");
        fs::write(folder.join("index.attr"), "unique_subject = no\n").expect("writable");
        fs::write(folder.join("serial"), "1000\n").expect("writable");
    }
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A signing authority: `NAME.pem` and `NAME.key` in its folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Signed {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let (subject, key, out) = (format!("/CN={name}"), format!("{name}.key"), format!("{name}.pem"));
        let mut arguments = vec!["req", "-config", "openssl.cnf", "-x509", "-days", "2", "-subj", &subject];
        arguments.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        arguments.extend(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout", &key, "-out", &out]);
        openssl(folder, &arguments);
        Self { folder: folder.to_owned(), name: name.into() }
    }

    pub fn pem(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// Valid now, for the host `host` as a server and for `common_name` as a client.
    pub fn sign(&self, common_name: &str, host: &str) -> Signed {
        self.issue(common_name, host, ["20200101000000Z", "20490101000000Z"])
    }

    /// Valid in January 2020 only.
    pub fn sign_expired(&self, common_name: &str, host: &str) -> Signed {
        self.issue(common_name, host, ["20200101000000Z", "20200201000000Z"])
    }

    fn issue(&self, common_name: &str, host: &str, [from, to]: [&str; 2]) -> Signed {
        let file = |ending: &str| format!("{}-{common_name}-{host}-{to}.{ending}", self.name);
        let (key, request, out) = (file("key"), file("csr"), file("pem"));
        let (subject, names) = (format!("/CN={common_name}"), format!("subjectAltName=DNS:{host}"));
        let mut arguments = vec!["req", "-config", "openssl.cnf", "-subj", &subject, "-addext", &names];
        arguments.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        arguments.extend(["-keyout", &key, "-out", &request]);
        openssl(&self.folder, &arguments);
        let (authority, authority_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let mut arguments = vec!["ca", "-config", "openssl.cnf", "-batch", "-notext", "-startdate", from];
        arguments.extend(["-enddate", to, "-cert", &authority, "-keyfile", &authority_key]);
        arguments.extend(["-in", &request, "-out", &out]);
        openssl(&self.folder, &arguments);
        Signed { certificate: self.folder.join(out), key: self.folder.join(key) }
    }
}
