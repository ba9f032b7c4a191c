//! Scraping a target that comes, changes and goes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::braid::Braid;

/// A target that serves what it is told to; an empty page is a 500.
fn target() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let page = Arc::new(Mutex::new(String::new()));
    let shown = Arc::clone(&page);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let page = shown.lock().expect("not poisoned").clone();
            let status = if page.is_empty() { "500 Internal Server Error" } else { "200 OK" };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    (address, page)
}

#[test]
fn a_target_is_scraped_and_counted() {
    let (address, page) = target();
    *page.lock().expect("not poisoned") = "# TYPE a counter\na{x=\"1\"} 1\nb 2\n".into();
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("braid.yaml");
    let yaml = format!(
        "scrape_configs:\n- job_name: j\n  scrape_interval: 200ms\n  static_configs:\n  - targets: ['{address}']\n    labels: {{env: dev}}\n"
    );
    std::fs::write(&config, yaml).expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("UTF-8")]);
    // Two samples of its own and five about the scrape.
    let accepted = "braid_receiver_accepted_items_total{receiver=\"scrape\",signal=\"metrics\"}";
    braid.eventually("two scrapes", |b| (b.metric(accepted) >= 14.0).then_some(()));
}
