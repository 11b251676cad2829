//! The page: files that are part of the program, and the rules by which a browser may use them.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::gate::refusal;
use super::texts::Texts;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:ident),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("../page/", $name)))),*]
    };
}

/// Name, type and text of each.
const FILES: &[(&str, &str, &str)] = files! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "dom.js": SCRIPT,
    "texts.js": SCRIPT,
    "live.js": SCRIPT,
    "picture.js": SCRIPT,
    "now.js": SCRIPT,
    "commission.js": SCRIPT,
    "regions.js": SCRIPT,
    "history.js": SCRIPT,
    "part.js": SCRIPT,
    "review.js": SCRIPT,
};

/// Another version of the program has other files under the same names.
const FRESH: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// Nothing but what comes from here, no script or style inside the page, and no text that becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// The page itself; everybody may see it, because it says nothing.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(texts: &Texts) -> Router<S> {
    let texts = texts.json();
    let texts = || async move { ([(header::CONTENT_TYPE, "application/json"), FRESH], texts) };
    Router::new()
        .route("/", get(|| async { file("index.html") }))
        .route("/page/texts.json", get(texts))
        .route("/page/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(header::CONTENT_TYPE, *kind), FRESH], *text).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "there is no such file"),
    }
}

/// What every answer tells the browser.
pub(super) fn protect(headers: &mut HeaderMap) {
    let rules = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
