#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(node) = prometheus::yaml::Node::parse(text) {
        let _ = prometheus::Config::scraping(&node);
    }
    let _ = prometheus::groups_of_file(text, "fuzz");
});
