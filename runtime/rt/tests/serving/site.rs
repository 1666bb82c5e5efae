//! A server in this process, and requests to it.
//!
//! In: an executable of the mock, flags. Out: statuses, JSON, events. Invariant: a server lives as long as the test
//! program; nothing waits longer than a minute.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{channel, Sender};
use std::time::Duration;

use serde_json::{json, Value};

use crate::mock::Executable;

/// A server.
#[derive(Clone)]
pub struct Site {
    pub address: String,
    agent: ureq::Agent,
}

/// Standard output, which says where the server is.
struct Lines(Sender<String>, Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.extend(bytes);
        if let Some(end) = self.1.iter().position(|&b| b == b'\n') {
            let line = String::from_utf8(self.1.drain(..=end).collect()).unwrap();
            drop(self.0.send(line.trim().to_owned()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Site {
    /// Starts a server and waits until it is ready.
    pub fn new(executable: Executable, flags: &[&str]) -> Site {
        let (sender, lines) = channel();
        // For as long as the program runs, as the server does.
        let executable: &'static Executable = Box::leak(Box::new(executable));
        let flags: Vec<String> = flags.iter().map(|f| f.to_string()).collect();
        std::thread::spawn(move || {
            let mut args = vec!["serve", "--port", "0"];
            args.extend(flags.iter().map(String::as_str));
            let mut errors = Vec::new();
            let code = executable.run_into(&args, "", &mut Lines(sender, Vec::new()), &mut errors);
            eprintln!("the server ended with {code}: {}", String::from_utf8_lossy(&errors));
        });
        let line = lines.recv_timeout(Duration::from_secs(60)).expect("the server says where it is");
        let site = Site::at(line.strip_prefix("listening on http://").expect(&line));
        while site.get("/health").0 != 200 {
            std::thread::sleep(Duration::from_millis(20));
        }
        site
    }

    /// The server that listens there.
    pub fn at(address: &str) -> Site {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Site { address: address.to_owned(), agent }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status and body.
    pub fn get_text(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(self.url(path)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// Status and JSON.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path);
        (status, serde_json::from_str(&text).expect(&text))
    }

    /// Status and JSON of an answer.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut response = self.agent.post(self.url(path)).send_json(body).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).expect(&text))
    }

    /// An answer that must come.
    pub fn ok(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    }

    /// An error's status, message and field.
    pub fn refused(&self, path: &str, body: &Value) -> (u16, String, Value) {
        let (status, answer) = self.post(path, body);
        let error = &answer["error"];
        let mut keys: Vec<&String> = error.as_object().expect("an error").keys().collect();
        keys.sort();
        assert_eq!(keys, ["code", "message", "param", "type"], "{answer}");
        (status, error["message"].as_str().unwrap().to_owned(), error["param"].clone())
    }

    /// The events of a stream, as they come.
    pub fn stream(&self, path: &str, body: &Value) -> impl Iterator<Item = String> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = self.agent.post(self.url(path)).send_json(&body).unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let lines = BufReader::new(response.into_body().into_reader()).lines().map(|line| line.unwrap());
        lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
    }

    /// The chunks of a stream that ends as it should.
    pub fn chunks(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut events: Vec<String> = self.stream(path, body).collect();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        events.iter().map(|e| serde_json::from_str(e).unwrap()).collect()
    }

    /// Answer to these bytes before the connection ends.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A connection that is reset has said what it had to say.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A number among the metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get_text("/metrics");
        let line = text.lines().find(|l| l.split_whitespace().next() == Some(name)).expect(name);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until a metric has this value.
    pub fn until(&self, name: &str, value: f64) {
        for _ in 0..3000 {
            if self.metric(name) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} is {}, expected {value}", self.metric(name));
    }
}
