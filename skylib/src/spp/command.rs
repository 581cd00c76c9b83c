//! Bodies of requests: [`Action`] and [`Launch`].

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{PcapSpec, SppError, shortened};

/// Action on a capture; SPP has no other actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Starts the capture.
    Start,
    /// Stops the capture.
    Stop,
}

impl Action {
    /// Parses a body such as `{"action": "start"}`. Other keys are ignored; of duplicate keys, the
    /// last one is used.
    ///
    /// ```
    /// use skylib::spp::Action;
    /// assert_eq!(Action::parse(br#"{"action": "stop"}"#)?, Action::Stop);
    /// assert_eq!(Action::parse(b"{").unwrap_err().to_string(), "Not in json format.");
    /// assert_eq!(Action::parse(b"[]").unwrap_err().to_string(), "key(action) required.");
    /// # Ok::<(), skylib::spp::SppError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error with SPP's message if the body is not JSON, or if the action is missing or
    /// invalid.
    pub fn parse(body: &[u8]) -> Result<Self, SppError> {
        let body = object(body)?;
        match required(&body, "action")? {
            Value::String(word) if word == "start" => Ok(Self::Start),
            Value::String(word) if word == "stop" => Ok(Self::Stop),
            other => Err(invalid("action", other)),
        }
    }
}

/// Request to add an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    client_id: Value,
    proc_name: Value,
    eal: Map<String, Value>,
    app: Map<String, Value>,
}

impl Launch {
    /// Parses a body and checks that all required keys exist.
    ///
    /// # Errors
    /// Returns an error with SPP's message if the body is not JSON or if a required key is missing.
    pub fn parse(body: &[u8]) -> Result<Self, SppError> {
        let body = object(body)?;
        let client_id = required(&body, "client_id")?.clone();
        let proc_name = required(&body, "proc_name")?.clone();
        let options = |key| match required(&body, key)? {
            Value::Object(options) => Ok(options.clone()),
            other => Err(invalid(key, other)),
        };
        Ok(Self {
            client_id,
            proc_name,
            eal: options("eal")?,
            app: options("app")?,
        })
    }

    /// Returns the settings of the requested instance, whose files are written to `root` or a
    /// folder below it.
    ///
    /// ```
    /// use skylib::spp::Launch;
    /// let launch = Launch::parse(br#"{"client_id": "4", "proc_name": "spp_pcap",
    ///     "eal": {"-l": "1-3", "--proc-type": "secondary"}, "app": {"-c": "phy:0"}}"#)?;
    /// let spec = launch.spec(&std::env::temp_dir())?;
    /// assert_eq!((spec.client_id, spec.cores), (4, vec![1, 2, 3]));
    /// # Ok::<(), skylib::spp::SppError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a value is missing or invalid, or if the folder is outside `root`.
    pub fn spec(&self, root: &Path) -> Result<PcapSpec, SppError> {
        let client_id = number(&self.client_id)
            .and_then(|id| u8::try_from(id).ok())
            .ok_or_else(|| invalid("client_id", &self.client_id))?;
        if self.proc_name != "spp_pcap" {
            return Err(invalid("proc_name", &self.proc_name));
        }
        if !self.eal.contains_key("--proc-type") {
            return Err(SppError::Spec("eal lacks --proc-type".to_owned()));
        }
        let port = self.app.get("-c").and_then(Value::as_str);
        let port = port.ok_or_else(|| SppError::Spec("app lacks -c, a port".to_owned()))?;
        let mut spec = PcapSpec::new(client_id, port.parse()?).with_cores(self.cores()?);
        if let Some(fsize) = self.app.get("--fsize") {
            let bytes = number(fsize).ok_or_else(|| invalid("--fsize", fsize))?;
            spec = spec.with_fsize(bytes);
        }
        spec.out_dir = self.out_dir(root)?;
        // A user with write access below the root could replace a folder with a link to a folder
        // outside the root.
        spec.no_links = true;
        spec.check()?;
        Ok(spec)
    }

    /// Returns the numbers of all logical CPUs, the master first.
    fn cores(&self) -> Result<Vec<u32>, SppError> {
        let option = |name| self.eal.get(name).map(|value| (name, value));
        let Some((name, value)) = option("-l")
            .or_else(|| option("--lcores"))
            .or_else(|| option("-c"))
        else {
            return Err(SppError::Spec(
                "eal lacks one of -l, -c, --lcores".to_owned(),
            ));
        };
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let cores = if name == "-c" {
            cores_of_mask(&text)
        } else {
            cores_of_list(&text)
        };
        let mut cores = cores.ok_or_else(|| invalid(name, value))?;
        let master = match self.eal.get("--master-lcore") {
            None => 0,
            Some(value) => number(value)
                .and_then(|master| cores.iter().position(|core| u64::from(*core) == master))
                .ok_or_else(|| invalid("--master-lcore", value))?,
        };
        if let Some(first) = cores.get_mut(..=master) {
            first.rotate_right(1);
        }
        Ok(cores)
    }

    /// Returns the folder for the files, as a canonical path without symbolic links.
    fn out_dir(&self, root: &Path) -> Result<PathBuf, SppError> {
        let root = canonical(root)?;
        let folder = match self.app.get("--out-dir") {
            None => return Ok(root),
            Some(Value::String(folder)) => canonical(&root.join(folder))?,
            Some(other) => return Err(invalid("--out-dir", other)),
        };
        if folder.starts_with(&root) {
            Ok(folder)
        } else {
            Err(SppError::Folder {
                folder,
                source: std::io::ErrorKind::PermissionDenied.into(),
            })
        }
    }
}

/// Returns the canonical path of a folder.
fn canonical(folder: &Path) -> Result<PathBuf, SppError> {
    std::fs::canonicalize(folder).map_err(|source| SppError::Folder {
        folder: PathBuf::from(shortened(&folder.to_string_lossy())),
        source,
    })
}

/// Parses a list such as `1-3` or `1,2,3`; returns the numbers in ascending order without
/// duplicates; `None` if the list is invalid.
fn cores_of_list(text: &str) -> Option<Vec<u32>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last.checked_sub(first)? >= MAX_CORES || last >= MAX_CORES {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

/// Parses a hexadecimal mask, such as `0xe` for cores 1, 2, and 3; `None` if the mask is invalid.
fn cores_of_mask(text: &str) -> Option<Vec<u32>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let mask = u128::from_str_radix(digits.unwrap_or(text), 16).ok()?;
    Some((0..128).filter(|core| mask >> core & 1 == 1).collect())
}

/// Parses a JSON object; other JSON values are treated as an object without keys.
fn object(body: &[u8]) -> Result<Map<String, Value>, SppError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Ok(Map::new()),
        Err(_) => Err(SppError::NotJson),
    }
}

/// Returns the value of a required key.
fn required<'a>(body: &'a Map<String, Value>, key: &'static str) -> Result<&'a Value, SppError> {
    body.get(key).ok_or(SppError::KeyRequired(key))
}

/// Returns the error for an invalid value.
fn invalid(key: &'static str, value: &Value) -> SppError {
    let value = match value {
        Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    };
    SppError::InvalidKey { key, value }
}

/// Returns an unsigned integer, given as a number or as a string; `None` if the value is neither.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Exclusive upper limit of core numbers.
const MAX_CORES: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    #[test]
    fn an_action_is_one_of_two_words() {
        for body in [
            &br#"{"action":"stop"}"#[..],
            br#" {"action":"start","action":"stop","x":1} "#,
        ] {
            assert_eq!(Action::parse(body).unwrap(), Action::Stop);
        }
        let refusal = |body: &[u8]| Action::parse(body).unwrap_err().to_string();
        for body in [
            &b""[..],
            b"{",
            b"start",
            b"{'action':'start'}",
            b"{\"action\":\"st\xff\"}",
            b"\0",
        ] {
            assert_eq!(refusal(body), "Not in json format.", "{body:?}");
        }
        assert_eq!(refusal("[".repeat(1000).as_bytes()), "Not in json format.");
        for body in [
            "{}",
            "[]",
            "null",
            "5",
            "\"action\"",
            "[\"action\"]",
            r#"{"Action":"start"}"#,
        ] {
            assert_eq!(refusal(body.as_bytes()), "key(action) required.", "{body}");
        }
        for (value, shown) in [
            (r#""restart""#, "restart"),
            (r#""START""#, "START"),
            (r#""""#, ""),
            ("null", "null"),
            ("1", "1"),
            (r#"["start"]"#, r#"["start"]"#),
        ] {
            let body = format!(r#"{{"action":{value}}}"#);
            assert_eq!(
                refusal(body.as_bytes()),
                format!("invalid key(action): {shown}.")
            );
        }
        let long = format!(r#"{{"action":"{}"}}"#, "ä".repeat(10_000));
        assert!(refusal(long.as_bytes()).len() < 200);
    }

    fn launch(body: &Value, root: &Path) -> Result<PcapSpec, SppError> {
        Launch::parse(body.to_string().as_bytes())?.spec(root)
    }

    fn body() -> Value {
        serde_json::json!({
            "client_id": "4", "proc_name": "spp_pcap",
            "eal": {"-l": "1-3,7", "--proc-type": "secondary"},
            "app": {"--client-id": "4", "-s": "127.0.0.1:6666", "-c": "phy:0 nq 1", "--fsize": "5000"},
        })
    }

    #[test]
    fn a_launch_gives_the_instance_of_its_options() {
        let root = folder("launch");
        let spec = launch(&body(), root.path()).unwrap();
        assert_eq!((spec.client_id, spec.fsize), (4, 5000));
        assert_eq!(spec.port.to_string(), "phy:0 nq 1");
        assert_eq!(spec.cores, [1, 2, 3, 7]);
        assert_eq!(spec.out_dir, root.path().canonicalize().unwrap());
        let mut other = body();
        other["eal"] = serde_json::json!({"-c": "0xf0", "--master-lcore": 6, "--proc-type": "x"});
        assert_eq!(launch(&other, root.path()).unwrap().cores, [6, 4, 5, 7]);
    }

    #[test]
    fn files_stay_below_the_root() {
        let root = folder("root");
        std::fs::create_dir(root.path().join("in")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("out")).unwrap();
        let to = |folder: Value| {
            let mut body = body();
            body["app"]["--out-dir"] = folder;
            launch(&body, root.path()).map(|spec| spec.out_dir)
        };
        let inside = root.path().canonicalize().unwrap().join("in");
        assert_eq!(to("in".into()).unwrap(), inside);
        assert_eq!(to(inside.to_str().unwrap().into()).unwrap(), inside);
        assert!(launch(&body(), root.path()).unwrap().no_links);
        for out_dir in ["..", "/", "out", "out/tmp", "in/../..", "nothing", "in/\0"] {
            assert!(
                matches!(to(out_dir.into()), Err(SppError::Folder { .. })),
                "{out_dir}"
            );
        }
        assert!(to(5.into()).is_err());
    }

    #[test]
    fn missing_keys_of_a_launch_are_reported_in_order() {
        let root = folder("lacks");
        let refusal = |body: Value| launch(&body, root.path()).unwrap_err().to_string();
        assert_eq!(refusal(serde_json::json!({})), "key(client_id) required.");
        assert_eq!(
            refusal(serde_json::json!({"client_id": 1})),
            "key(proc_name) required."
        );
        let change = |path: &str, value: Value| {
            let mut body = body();
            *body.pointer_mut(path).unwrap() = value;
            refusal(body)
        };
        assert_eq!(change("/eal", 1.into()), "invalid key(eal): 1.");
        assert_eq!(
            change("/proc_name", "spp_vf".into()),
            "invalid key(proc_name): spp_vf."
        );
        assert_eq!(
            change("/client_id", "x".into()),
            "invalid key(client_id): x."
        );
        assert_eq!(
            change("/client_id", 300.into()),
            "invalid key(client_id): 300."
        );
        assert!(change("/client_id", 0.into()).contains("1 to 127"));
        assert!(change("/eal", serde_json::json!({"-l": "1-3"})).contains("--proc-type"));
        assert!(change("/eal", serde_json::json!({"--proc-type": "x"})).contains("-l, -c"));
        for list in ["", "1-", "3-1", "a", "1,,2", "0-5000", "-1"] {
            assert!(
                change("/eal/-l", list.into()).starts_with("invalid key(-l)"),
                "{list}"
            );
        }
        assert!(change("/eal/-l", "1,2".into()).contains("cores"));
        assert!(change("/app", serde_json::json!({})).contains("app lacks -c"));
        assert!(change("/app/-c", "vhost:0".into()).contains("invalid port"));
        assert!(change("/app/--fsize", "big".into()).starts_with("invalid key(--fsize)"));
        assert!(change("/app/--fsize", 5.into()).contains("1024"));
    }
}
