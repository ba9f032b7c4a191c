#![no_main]

// Reading a request must not panic, whatever comes.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wire::remote_read::read(bytes, &wire::Limits::default());
});
