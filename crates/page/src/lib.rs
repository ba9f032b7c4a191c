//! The page: the files of `ui/dist`, inside the binary, and how they are served.
//!
//! Only files that exist are answered, `/` being `index.html`: where one is in the page stands behind the `#` of its address, so
//! no unknown path ever has to be the page. Each answer carries an entity tag (the files' names are the same in every
//! version) and a Content-Security-Policy that lets the page run its own scripts and ask its own server, nothing else.

use std::io::Read;

use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// A file of the page.
#[derive(Debug)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What the page may do. Styles are files or constructed sheets, never inline; a WebSocket to the page's own server is `'self'`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether the page has such a file.
#[must_use]
pub fn has(path: &str) -> bool {
    path == "/" || ASSETS.iter().any(|a| a.path == path)
}

/// Answers GET and HEAD (whoever serves drops a HEAD's body) of `path` where the page has such a file; `None` elsewhere.
///
/// The body is compressed with gzip where the request accepts that (RFC 9110). A matching `If-None-Match` is answered 304.
#[must_use]
pub fn answer(path: &str, request: &HeaderMap) -> Option<Response<Vec<u8>>> {
    let wanted = if path == "/" { "/index.html" } else { path };
    let asset = ASSETS.iter().find(|a| a.path == wanted)?;
    let mut response = Response::new(Vec::new());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ETAG, asset.etag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if known(request, asset.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Some(response);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if accepts_gzip(request) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = asset.gzip.to_vec();
    } else if GzDecoder::new(asset.gzip).read_to_end(response.body_mut()).is_err() {
        // Cannot happen with what the build script wrote.
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Some(response)
}

/// Whether the client has the file already. Tags compare weakly here (RFC 9110, 13.1.2).
fn known(request: &HeaderMap, etag: &str) -> bool {
    let tags = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    tags.flat_map(|v| v.split(',')).map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let accepted = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(|q| matches!(q, "q=0" | "q=0.0"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, headers: &[(header::HeaderName, &str)]) -> Option<Response<Vec<u8>>> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a header"));
        }
        answer(path, &map)
    }

    #[test]
    fn the_page_runs_nothing_but_its_own_scripts_and_is_not_sent_twice() {
        let plain = ask("/", &[]).expect("the page");
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = plain.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        let html = String::from_utf8(plain.body().clone()).expect("text");
        assert!(html.contains("<title>Braid</title>") && !html.contains("<style") && !html.contains("style="), "{html}");

        let tag = plain.headers()[header::ETAG].to_str().expect("text");
        for given in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = ask("/", &[(header::IF_NONE_MATCH, &given)]).expect("the page");
            assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0), "{given}");
        }
        assert_eq!(ask("/", &[(header::IF_NONE_MATCH, "\"x\"")]).expect("the page").status(), StatusCode::OK);
    }

    #[test]
    fn a_file_comes_compressed_to_those_who_take_it_and_is_the_same() {
        for Asset { path, .. } in ASSETS {
            let plain = ask(path, &[(header::ACCEPT_ENCODING, "br, gzip;q=0")]).expect("a file");
            let packed = ask(path, &[(header::ACCEPT_ENCODING, "br, gzip")]).expect("a file");
            assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
            let mut unpacked = Vec::new();
            GzDecoder::new(&packed.body()[..]).read_to_end(&mut unpacked).expect("gzip");
            assert_eq!(&unpacked, plain.body(), "{path}");
        }
    }

    #[test]
    fn what_the_page_does_not_have_is_not_the_page() {
        for path in ["", "/traces", "/api/search", "/assets/", "/assets/../index.html", "/assets/none.js", "/index.html/"] {
            assert!(ask(path, &[]).is_none(), "{path}");
        }
    }
}
