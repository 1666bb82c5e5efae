//! A server of a compiled model, for the tests of `serve`.
//!
//! In: an executable, flags. Out: statuses, texts, JSON. Invariant: it ends with the test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use qwenc_tests::variants::executable;
use serde_json::{json, Value};

/// A server, ended with the test.
pub struct Served {
    child: Child,
    pub url: String,
    pub agent: ureq::Agent,
}

impl Served {
    /// A server of the sample with these weights.
    pub fn new(quant: &str, flags: &[&str]) -> Served {
        Served::of(&executable("sample", quant), flags)
    }

    /// A server of this executable, whose model is loaded.
    pub fn of(executable: &Path, flags: &[&str]) -> Served {
        Served::by(Command::new(executable), flags)
    }

    /// Serves with the executable that a command starts.
    pub fn by(mut command: Command, flags: &[&str]) -> Served {
        command.args(["serve", "--port", "0"]).args(flags);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .into();
        let served = Served { child, url, agent };
        while served.get("/health").0 != 200 {
            thread::sleep(Duration::from_millis(10));
        }
        served
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let mut response = self.agent.post(format!("{}{path}", self.url)).send_json(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub fn ok(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.post(path, body);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The chunks of a stream that ends as it should.
    pub fn chunks(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, text) = self.post(path, &with(body.clone(), json!({"stream": true})));
        assert_eq!(status, 200, "{text}");
        let mut events: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        events.iter().map(|e| serde_json::from_str(e).unwrap()).collect()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: our own child, which was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Text that it wrote to standard error; it has ended.
    pub fn errors(&mut self) -> String {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }

    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A question to the chat, greedy and without thinking.
pub fn question(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "temperature": 0,
           "chat_template_kwargs": {"enable_thinking": false}})
}

/// A body with more fields.
pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}
