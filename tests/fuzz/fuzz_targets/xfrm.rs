//! See [`espwire_fuzz::xfrm`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| espwire_fuzz::xfrm::run(octets));
