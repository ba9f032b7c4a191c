//! The page's files, which `lab/tasks/page/build` makes and the binary carries.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const INDEX: File =
    File { path: "/index.html", kind: "text/html; charset=utf-8", bytes: include_bytes!("../../page/dist/index.html") };
const FILES: [File; 3] = [
    INDEX,
    File { path: "/page.js", kind: "text/javascript; charset=utf-8", bytes: include_bytes!("../../page/dist/page.js") },
    File { path: "/page.css", kind: "text/css; charset=utf-8", bytes: include_bytes!("../../page/dist/page.css") },
];

/// The file at `path`, or the page itself for any other path. The names are stable, so browsers must ask each time whether
/// their copy is still good.
pub(super) fn serve(path: &str, request: &HeaderMap) -> Response {
    let file = FILES.iter().find(|file| file.path == path).unwrap_or(&INDEX);
    let tag = format!("\"{:016x}\"", checksum(file.bytes));
    let known = request.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let head = [(header::CONTENT_TYPE, file.kind), (header::CACHE_CONTROL, "no-cache"), (header::ETAG, tag.as_str())];
    if known { (StatusCode::NOT_MODIFIED, head).into_response() } else { (head, file.bytes).into_response() }
}

/// FNV-1a; it only has to differ between builds.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_paths_get_the_page_and_known_copies_are_not_sent_again() {
        let index = serve("/", &HeaderMap::new());
        let other = serve("/some/where", &HeaderMap::new());
        assert_eq!(index.headers()[header::ETAG], other.headers()[header::ETAG]);
        assert_eq!(serve("/page.js", &HeaderMap::new()).headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, index.headers()[header::ETAG].clone());
        assert_eq!(serve("/", &again).status(), StatusCode::NOT_MODIFIED);
    }
}
