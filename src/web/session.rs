//! Who has shown the token once need not show it with every request: a cookie stands for it until it is too old.

use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

/// A cookie that was not used for so long stands for nothing; a shift with its overtime.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Cookies that stand for something at the same time; the one that was not used for the longest time makes room.
const MOST: usize = 64;
/// A page of another site cannot send it without being asked by the browser whether it may, and it may not.
const GUARD: &str = "x-vcp-line-page";

struct Session {
    id: [u8; 32],
    used: Instant,
}

/// The cookies that were given.
pub(super) struct Sessions {
    /// Cookies know no ports: lines on one computer need names of their own.
    name: String,
    given: Mutex<Vec<Session>>,
}

impl Sessions {
    pub fn new(port: u16) -> Self {
        Self { name: format!("vcp-line-{port}"), given: Mutex::default() }
    }

    fn given(&self) -> MutexGuard<'_, Vec<Session>> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|session| session.used.elapsed() < LIFE);
        given
    }

    /// A new cookie, for somebody who has shown the token; `None` without random numbers.
    pub fn begin(&self) -> Option<HeaderValue> {
        let mut id = [0; 32];
        File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut id)).ok()?;
        let mut given = self.given();
        if given.len() >= MOST
            && let Some(oldest) = (0..given.len()).min_by_key(|&at| given[at].used)
        {
            given.swap_remove(oldest);
        }
        given.push(Session { id, used: Instant::now() });
        let cookie =
            format!("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", self.name, hex::encode(id), LIFE.as_secs());
        HeaderValue::from_str(&cookie).ok()
    }

    /// Whether the request carries a cookie that was given here.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let Some(id) = self.cookie(headers) else { return false };
        let mut given = self.given();
        let held = given.iter_mut().find(|session| session.id.ct_eq(&id).into());
        held.map(|session| session.used = Instant::now()).is_some()
    }

    /// Whether it comes from our own page, too.
    pub fn holds_on_our_page(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(GUARD) && self.holds(headers)
    }

    /// The cookie stands for nothing any more; what the browser is told.
    pub fn end(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(id) = self.cookie(headers) {
            self.given().retain(|session| !bool::from(session.id.ct_eq(&id)));
        }
        HeaderValue::from_str(&format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", self.name)).ok()
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|all| all.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == self.name)?;
        hex::decode(value).ok()?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().expect("text").split(';').next().expect("a pair");
        [(header::COOKIE, format!("other=1; {pair}").parse().expect("valid"))].into_iter().collect()
    }

    #[test]
    fn a_cookie_stands_for_the_token_until_it_is_given_back() {
        let sessions = Sessions::new(8710);
        let cookie = sessions.begin().expect("random numbers");
        let mut headers = sent(&cookie);
        assert!(sessions.holds(&headers) && !sessions.holds_on_our_page(&headers));
        headers.insert(GUARD, HeaderValue::from_static("1"));
        assert!(sessions.holds_on_our_page(&headers));
        assert!(!Sessions::new(8711).holds(&headers), "of another line");
        sessions.end(&headers).expect("a value");
        assert!(!sessions.holds(&headers));
    }

    #[test]
    fn cookies_are_bounded() {
        let sessions = Sessions::new(8710);
        let cookies: Vec<HeaderValue> = (0..=MOST).map(|_| sessions.begin().expect("random numbers")).collect();
        assert!(!sessions.holds(&sent(&cookies[0])) && sessions.holds(&sent(&cookies[MOST])));
        assert_eq!(sessions.given().len(), MOST);
    }
}
