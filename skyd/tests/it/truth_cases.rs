//! Runs `skyd flows` on the cases of `skylib/tests/data/truth`: exact numbers of small captures.
//!
//! The environment variable `TRUTH_CASES` names another case file. The format is that of
//! `run_truth_cases.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn truth_cases() {
    let own =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../skylib/tests/data/truth/truth-cases.json");
    let other = std::env::var_os("TRUTH_CASES").map(PathBuf::from);
    let path = other.unwrap_or(own);
    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut faults = Vec::new();
    let mut runs = 0;
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        runs += 1;
        let found = run(path.parent().unwrap(), case);
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    println!("truth_cases: {runs} run");
    assert!(runs > 0 && faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs the command of a case with each of its argument lists; returns the differences.
fn run(folder: &Path, case: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let also = case["also_args"].as_array().into_iter().flatten();
    let mut first = None;
    for args in std::iter::once(&case["args"]).chain(also) {
        let output = flows(folder, case, &texts(args));
        check_output(case, &output, &mut faults);
        if case["no_json"] == true {
            continue;
        }
        match records(&output) {
            Ok(records) => {
                faults.extend(check(case, &records));
                first.get_or_insert(records);
            }
            Err(error) => faults.push(format!("no JSON: {error}")),
        }
    }
    for args in case["like"].as_array().into_iter().flatten() {
        let args = [texts(&case["args"]), texts(args)].concat();
        let same = records(&flows(folder, case, &args)).ok().map(sorted);
        if same != first.clone().map(sorted) {
            faults.push(format!("with {args:?} the result differs"));
        }
    }
    faults
}

fn flows(folder: &Path, case: &Value, args: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skyd"))
        .arg("flows")
        .arg(folder.join(case["file"].as_str().unwrap()))
        .args(["--format", "json"])
        .args(args)
        .output()
        .unwrap()
}

fn records(output: &Output) -> Result<Vec<Value>, serde_json::Error> {
    serde_json::from_slice(&output.stdout)
}

fn sorted(records: Vec<Value>) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(Value::to_string).collect();
    lines.sort();
    lines
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Compares exit status and messages.
fn check_output(case: &Value, output: &Output, faults: &mut Vec<String>) {
    let allowed = match &case["status"] {
        Value::Null => vec![0],
        Value::Array(list) => list.iter().filter_map(Value::as_i64).collect(),
        one => vec![one.as_i64().unwrap()],
    };
    let status = i64::from(output.status.code().unwrap_or(-1));
    if !allowed.contains(&status) {
        faults.push(format!("exit status {status}"));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    for text in texts(&case["stderr"]) {
        if !regex::Regex::new(&text).unwrap().is_match(&stderr) {
            faults.push(format!("no {text:?} in {stderr:?}"));
        }
    }
}

/// Compares the records of a case.
fn check(case: &Value, records: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    if case["count"]
        .as_u64()
        .is_some_and(|count| count != records.len() as u64)
    {
        faults.push(format!(
            "{} records instead of {}",
            records.len(),
            case["count"]
        ));
    }
    let mut uuids: Vec<&Value> = records.iter().map(|record| &record["UUID"]).collect();
    uuids.sort_by_key(|uuid| uuid.to_string());
    uuids.dedup();
    if uuids.len() != records.len() {
        faults.push("a UUID occurs twice".to_owned());
    }
    let mut named: HashMap<&str, &Value> = HashMap::new();
    let wanted = case["flows"].as_array().unwrap();
    let found = |want: &Value| -> Vec<&Value> {
        let is = |record: &&Value| {
            fields(&want["where"]).all(|(path, value)| same(value, at(record, path)))
        };
        records.iter().filter(is).collect()
    };
    for want in wanted {
        let found = found(want);
        if found.len() as u64 != want["count"].as_u64().unwrap_or(1) {
            faults.push(format!("{} records match {}", found.len(), want["where"]));
        }
        for record in &found {
            for (path, value) in fields(&want["expect"]) {
                let got = at(record, path);
                if !same(value, got) {
                    let got = got.unwrap_or(&Value::Null);
                    faults.push(format!(
                        "{path}: {got} instead of {value} [{}]",
                        want["where"]
                    ));
                }
            }
        }
        if let (Some(name), Some(record)) = (want["as"].as_str(), found.first()) {
            named.insert(name, record);
        }
    }
    for want in wanted {
        let Some(parent) = want["parent"].as_str() else {
            continue;
        };
        let uuid = named
            .get(parent)
            .map_or(json!(""), |record| record["UUID"].clone());
        if found(want)
            .iter()
            .any(|record| record["ParentUUID"] != uuid)
        {
            faults.push(format!(
                "ParentUUID of {} is not that of {parent:?}",
                want["where"]
            ));
        }
    }
    faults.extend(check_lists(case, records, &named));
    faults
}

/// Compares fields of named records with each other.
fn check_lists(case: &Value, records: &[Value], named: &HashMap<&str, &Value>) -> Vec<String> {
    let mut faults = Vec::new();
    let by_name = |name: &str| {
        let by_path = || records.iter().find(|record| record["LayersPath"] == name);
        named.get(name).copied().or_else(by_path)
    };
    for list in case["refs"].as_array().into_iter().flatten() {
        let [name, field, other, other_field] = &texts(list)[..] else {
            panic!("four texts");
        };
        let one = by_name(name).and_then(|record| at(record, field));
        let two = by_name(other).and_then(|record| at(record, other_field));
        if one.is_none() || one != two {
            faults.push(format!(
                "{field} of {name}: {one:?}; {other_field} of {other}: {two:?}"
            ));
        }
    }
    for kind in ["equal", "distinct"] {
        for list in case[kind].as_array().into_iter().flatten() {
            let list = texts(list);
            let values = list[1..]
                .iter()
                .map(|name| at(named.get(name.as_str())?, &list[0]));
            let mut values: Vec<String> = values.map(|value| format!("{value:?}")).collect();
            values.sort();
            values.dedup();
            let count = if kind == "equal" { 1 } else { list.len() - 1 };
            if values.len() != count {
                faults.push(format!("{list:?} not {kind}: {values:?}"));
            }
        }
    }
    faults
}

fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// Returns the value at a dotted path; indexes of lists are numbers.
fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    let found = path
        .split('.')
        .try_fold(record, |value, part| match value {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })?;
    (!found.is_null()).then_some(found)
}

/// Returns whether a value is as the case expects.
fn same(want: &Value, got: Option<&Value>) -> bool {
    let is_empty = |value: &Value| {
        *value == json!(0) || *value == json!("") || *value == json!([]) || *value == json!({})
    };
    match want {
        Value::Null => got.is_none_or(is_empty),
        Value::Object(want) => {
            if let Some(text) = want.get("re") {
                let text = regex::Regex::new(text.as_str().unwrap()).unwrap();
                return got
                    .and_then(Value::as_str)
                    .is_some_and(|got| text.is_match(got));
            }
            if let Some(list) = want.get("in") {
                return list.as_array().unwrap().iter().any(|one| same(one, got));
            }
            if want.contains_key("any") {
                return got.is_some_and(|got| !is_empty(got));
            }
            let Some(got) = got.map_or(Some(0.0), Value::as_f64) else {
                return false;
            };
            let bound = |key: &str| want.get(key).and_then(Value::as_f64).unwrap_or(got);
            bound("min") <= got && got <= bound("max")
        }
        Value::Number(_) if *want == json!(0) => got.is_none_or(|got| *got == json!(0)),
        Value::String(want) => got
            .and_then(Value::as_str)
            .is_some_and(|got| got.eq_ignore_ascii_case(want)),
        _ => got == Some(want),
    }
}
