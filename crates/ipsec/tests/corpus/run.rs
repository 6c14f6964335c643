//! A run over all cases.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value;

use crate::lines::{files, lines, text};
use crate::score::{Score, Wire};
use crate::{published, receiver, sender};

/// The committed corpus, kind by kind.
const COMMITTED_CASES: [(&str, usize); 6] =
    [("flip", 19), ("kat", 15), ("pkt", 1325), ("seq", 137), ("trunc", 38), ("tx", 9)];
/// Single things that the committed cases demand: packets, damaged copies, steps, each in all its forms.
const COMMITTED_CHECKS: usize = 9317;

/// Scores one line that is a case.
fn score_case(score: &mut Score, sas: &HashMap<&str, &Value>, packets: &HashMap<&str, &Value>, case: &Value) {
    let kind = text(case, "kind");
    let before = score.checks;
    let sa = case["sa"].as_str().and_then(|id| sas.get(id).copied());
    let base = case["base"].as_str().and_then(|id| packets.get(id).copied());
    match (kind, sa, base) {
        ("pkt", Some(sa), _) => receiver::packet(score, sa, case),
        ("flip" | "trunc", Some(sa), Some(base)) => receiver::damaged(score, sa, base, case),
        ("seq", Some(sa), _) => receiver::sequence(score, sa, case),
        ("tx", Some(sa), _) => sender::steps(score, sa, case),
        ("kat", ..) => published::vector(score, case),
        _ => score.check(false, "a case of no known kind, or without its SA or base"),
    }
    score.end_case(kind, text(case, "id"), before);
}

/// Scores every case of the corpus: of the folder `committed`, or the one that is named. All packets, to be received or
/// sent, go through `wire`, and what is delivered, too. Says what it found, last of all in one line, and returns
/// whether all is right: every case, and that each line of a case was scored.
pub(crate) fn run(wire: Wire, committed: &str) -> bool {
    let other = std::env::var_os("ESPWIRE_CORPUS").map(PathBuf::from);
    let mut score = Score::new(wire);
    let mut in_files = BTreeMap::<String, usize>::new();
    for file in files(&other.clone().unwrap_or_else(|| committed.into())) {
        let lines = lines(&file);
        let by_id = |kind: &str| -> HashMap<&str, &Value> {
            lines.iter().filter(|line| line["kind"] == kind).map(|line| (text(line, "id"), line)).collect()
        };
        let (sas, packets) = (by_id("sa"), by_id("pkt"));
        for line in &lines {
            let kind = text(line, "kind");
            if kind != "sa" {
                *in_files.entry(kind.to_owned()).or_default() += 1;
                score_case(&mut score, &sas, &packets, line);
            }
        }
    }
    let (cases, wrong) = (score.cases.values().sum::<usize>(), score.wrong.len());
    let mut is_right = cases > 0 && wrong == 0;
    for line in score.wrong.iter().take(60) {
        println!("WRONG {line}");
    }
    for (kind, count) in &score.cases {
        println!("{kind}: {count}");
    }
    println!("{} checks", score.checks);
    if score.cases != in_files {
        println!("of the cases in the files, {in_files:?}, not all were scored");
        is_right = false;
    }
    if other.is_none() {
        let committed = BTreeMap::from(COMMITTED_CASES.map(|(kind, count)| (kind.to_owned(), count)));
        if score.cases != committed || score.checks != COMMITTED_CHECKS {
            println!("of the committed corpus {committed:?} are due, with {COMMITTED_CHECKS} checks");
            is_right = false;
        }
    }
    println!("corpus: {cases} cases, {wrong} wrong");
    is_right
}
