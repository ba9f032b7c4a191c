#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let finder = correlate::keys::Finder::new(&correlate::Settings::default().keys).expect("the default keys");
    let mut found = correlate::keys::Found::default();
    finder.text(text, &mut found);
    assert!(found.keys.iter().all(|k| text.contains(&*k.value) && k.value.len() <= correlate::keys::MAX_VALUE));
});
