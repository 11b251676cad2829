//! A broker as people write it: `mqtt://[USER@]HOST[:PORT][/PREFIX]`.

use std::str::FromStr;

/// Port of MQTT without TLS.
pub const DEFAULT_PORT: u16 = 1883;

/// The parts of a broker URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// User, if written.
    pub user: Option<String>,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// 1883 unless written.
    pub port: u16,
    /// What follows the host, without the slash at either end.
    pub path: Option<String>,
}

/// The URL does not name a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("broker \"{url}\": the scheme must be mqtt://; TLS is not supported yet")]
    Scheme {
        /// As written.
        url: String,
    },
    /// No host.
    #[error("broker \"{url}\" names no host; write mqtt://HOST[:PORT]")]
    Host {
        /// As written.
        url: String,
    },
    /// The port is no number from 1 to 65535.
    #[error("broker \"{url}\": \"{port}\" is no port; use a number from 1 to 65535")]
    Port {
        /// As written.
        url: String,
        /// The part that should be a port.
        port: String,
    },
    /// A password in a URL ends up in logs and process lists.
    #[error("a broker URL must not contain a password; put it into a file and name that as password_file")]
    Password,
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let written = || url.to_string();
        let (authority, path) = match url.strip_prefix("mqtt://") {
            None => {
                // The text may hold a password whatever its scheme is, so only the scheme is shown.
                let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                return Err(UrlError::Scheme { url: format!("{scheme}://…") });
            }
            Some(rest) => rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path)),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(UrlError::Password),
            Some((user, place)) => (Some(user.to_string()).filter(|user| !user.is_empty()), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or_else(|| UrlError::Host { url: written() })?;
                (host, tail.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(UrlError::Host { url: written() });
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(text) => match text.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(UrlError::Port { url: written(), port: text.into() }),
            },
        };
        let path = Some(path.trim_end_matches('/').to_string()).filter(|path| !path.is_empty());
        Ok(Self { user, host: host.into(), port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_write_them() {
        let full: BrokerUrl = "mqtt://line@broker.plant:1884/vcp-line/caps/".parse().expect("valid");
        assert_eq!(full.user.as_deref(), Some("line"));
        assert_eq!((full.host.as_str(), full.port), ("broker.plant", 1884));
        assert_eq!(full.path.as_deref(), Some("vcp-line/caps"));
        let six: BrokerUrl = "mqtt://[::1]".parse().expect("valid");
        assert_eq!((six.host.as_str(), six.port, six.path), ("::1", 1883, None));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |url: &str| url.parse::<BrokerUrl>().expect_err("wrong").to_string();
        assert!(error("mqtts://a:secret@b").contains("mqtts://…") && !error("mqtts://a:secret@b").contains("secret"));
        assert!(error("mqtt://").contains("names no host"));
        assert!(error("mqtt://h:0").contains("\"0\" is no port"));
        assert!(error("mqtt://h:99999").contains("65535"));
        assert!(error("mqtt://u:secret@h").contains("must not contain a password"));
        assert!(!error("mqtt://u:secret@h").contains("secret"));
    }
}
