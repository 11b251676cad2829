//! A broker as people write it: `mqtt[s]://[USER@]HOST[:PORT][/PREFIX]`.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Port of MQTT without TLS.
pub const DEFAULT_PORT: u16 = 1883;

/// Port of MQTT over TLS.
pub const DEFAULT_TLS_PORT: u16 = 8883;

/// The parts of a broker URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// User, if written.
    pub user: Option<String>,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// 1883, or 8883 with TLS, unless written.
    pub port: u16,
    /// Whether the scheme is `mqtts://`.
    pub tls: bool,
    /// What follows the slash behind the host, without one at its end; `%20` and the like are what they stand for.
    pub path: Option<String>,
}

/// The URL does not name a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("broker \"{url}\": the scheme must be mqtt:// or, with TLS, mqtts://")]
    Scheme {
        /// As written.
        url: String,
    },
    /// No host.
    #[error("broker \"{url}\" names no host; write mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
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
    /// Certificates are for names.
    #[error(
        "broker \"{url}\": certificates are checked against a name; write the broker's name in place of the address"
    )]
    Address {
        /// As written.
        url: String,
    },
    /// Nobody knows what the path or the user is called.
    #[error("broker \"{url}\": what is written with '%' is no UTF-8; write the letters themselves")]
    Percent {
        /// As written.
        url: String,
    },
    /// A password in a URL ends up in logs and process lists.
    #[error("a broker URL must not contain a password; put it into a file and name that as password_file")]
    Password,
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let written = || url.to_string();
        let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => {
                // The text may hold a password whatever its scheme is, so only the scheme is shown.
                let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
                return Err(UrlError::Scheme { url: format!("{scheme}://…") });
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(UrlError::Password),
            Some((user, place)) => (Some(plain(user).ok_or_else(|| UrlError::Percent { url: written() })?), place),
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
        if tls && host.contains(':') {
            // The TLS layer is handed the address in brackets, which it takes for a malformed name.
            return Err(UrlError::Address { url: written() });
        }
        let port = match port {
            None if tls => DEFAULT_TLS_PORT,
            None => DEFAULT_PORT,
            Some(text) => match text.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(UrlError::Port { url: written(), port: text.into() }),
            },
        };
        let path = plain(path.trim_end_matches('/')).ok_or_else(|| UrlError::Percent { url: written() })?;
        let (user, path) = (user.filter(|user| !user.is_empty()), Some(path).filter(|path| !path.is_empty()));
        Ok(Self { user, host: host.into(), port, tls, path })
    }
}

/// The text that stands for itself or for what its `%`s say.
fn plain(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
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
        assert_eq!((six.host.as_str(), six.port, six.path, six.tls), ("::1", 1883, None, false));
        let plant: BrokerUrl = "mqtt://line%40acme@h/acme.corp/Plant%201/k%C3%B6ln".parse().expect("valid");
        assert_eq!((plant.user.as_deref(), plant.path.as_deref()), (Some("line@acme"), Some("acme.corp/Plant 1/köln")));
        let rooted: BrokerUrl = "mqtt://h//factory/line/".parse().expect("valid");
        assert_eq!(rooted.path.as_deref(), Some("/factory/line"));
        let secure: BrokerUrl = "mqtts://broker.plant".parse().expect("valid");
        assert_eq!((secure.host.as_str(), secure.port, secure.tls), ("broker.plant", 8883, true));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |url: &str| url.parse::<BrokerUrl>().expect_err("wrong").to_string();
        assert!(error("http://a:secret@b").contains("http://…") && !error("http://a:secret@b").contains("secret"));
        assert_eq!(error("mqtts://a:secret@b"), error("mqtt://a:secret@b"));
        assert!(error("mqtts://[::1]").contains("broker's name"));
        assert!(error("mqtt://").contains("names no host"));
        assert!(error("mqtt://h/k%F6ln").contains("no UTF-8"));
        assert!(error("mqtt://h:0").contains("\"0\" is no port"));
        assert!(error("mqtt://h:99999").contains("65535"));
        assert!(error("mqtt://u:secret@h").contains("must not contain a password"));
        assert!(!error("mqtt://u:secret@h").contains("secret"));
    }
}
