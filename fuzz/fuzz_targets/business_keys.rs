#![no_main]

use std::sync::LazyLock;

use correlate::keys::{Finder, Found, MAX_VALUE};

// Made once: it takes longer than the look at a text.
static FINDER: LazyLock<Finder> = LazyLock::new(|| Finder::new(&correlate::Settings::default().keys).expect("the default keys"));

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut found = Found::default();
    FINDER.text(text, &mut found);
    assert!(found.keys.iter().all(|k| text.contains(&*k.value) && k.value.len() <= MAX_VALUE));
});
