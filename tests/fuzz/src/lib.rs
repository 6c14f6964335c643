//! Differential fuzz targets: what the fuzzer's octets mean, what is made of them here, and by whom it is compared.
//!
//! Each target is a function of octets that panics if the two sides differ. cargo-fuzz calls it with new octets
//! (fuzz_targets), a test here with those of the committed corpus: for the test any toolchain will do.

pub mod decapsulate;
mod packet;
pub mod spd;
pub mod xfrm;

/// A target: what is done with octets.
pub type Target = fn(&[u8]);

/// All targets with their names, which are those of their corpora.
pub const TARGETS: [(&str, Target); 3] =
    [("spd", spd::run), ("xfrm", xfrm::run), ("decapsulate", decapsulate::run)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_once_is_right_for_ever() {
        for (name, run) in TARGETS {
            let folder = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.sort();
            assert!(paths.len() > 10, "{folder}: {} files", paths.len());
            for path in &paths {
                let octets = std::fs::read(path).unwrap();
                if let Err(panic) = std::panic::catch_unwind(|| run(&octets)) {
                    println!("in {}", path.display());
                    std::panic::resume_unwind(panic);
                }
            }
            println!("{name}: {} inputs", paths.len());
        }
    }
}
