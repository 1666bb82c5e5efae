//! Templates that want to take everything: each ends with an error, soon and with little memory.
//!
//! In: sources. Out: nothing. Invariant: within `SECONDS` and `MEMORY`, called on a thread with a stack of `STACK`; one test
//! runs at a time, since memory is that of the process.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use qwenc_jinja::Template;
use serde_json::{json, Map, Value};

/// The caller's stack: small, to show that rendering does not use it.
const STACK: usize = 64 << 10;
/// Resident memory that all bombs together may add, in bytes.
const MEMORY: usize = 256 << 20;
/// Seconds for each; a hundred times what it takes alone, since tests share processors.
const SECONDS: u64 = 20;

static TURN: Mutex<()> = Mutex::new(());

/// Until this is dropped no other test runs.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variables() -> Map<String, Value> {
    let messages = json!([{"role": "user", "content": "hello"}]);
    json!({"messages": messages, "tools": null}).as_object().unwrap().clone()
}

/// Parses and renders on a small stack.
fn render(source: &str) -> Result<String, String> {
    let source = source.to_string();
    let run = move || {
        let template = Template::parse(&source).map_err(|e| e.to_string())?;
        template.render(&variables()).map_err(|e| e.to_string())
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().expect("no panic")
}

/// Peak resident memory of this process, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn ends(name: &str, source: &str) {
    let start = Instant::now();
    let result = render(source);
    let took = start.elapsed();
    assert!(result.is_err(), "{name}: rendered {} bytes", result.unwrap().len());
    assert!(took.as_secs() < SECONDS, "{name}: {took:?}");
    println!("{name}: {took:?}: {}", result.unwrap_err().chars().take(120).collect::<String>());
}

/// `for` over a range of 100,000, which the sandbox allows, so many times in each other.
fn nested(loops: usize, body: &str) -> String {
    let names = ["a", "b", "c", "d"];
    let open: String = names[..loops].iter().map(|n| format!("{{% for {n} in range(100000) %}}")).collect();
    format!("{open}{body}{}", "{% endfor %}".repeat(loops))
}

/// Sources that a parser without limits would overflow its stack with.
fn deep_sources() -> Vec<(&'static str, String)> {
    vec![
        ("50,000 nots", format!("{{{{ {} true }}}}", "not ".repeat(50_000))),
        ("50,000 brackets", format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000))),
        ("50,000 lists", format!("{{{{ {}1{} }}}}", "[".repeat(50_000), "]".repeat(50_000))),
        ("50,000 signs", format!("{{{{ {}1 }}}}", "-".repeat(50_000))),
        ("50,000 sums", format!("{{{{ 1{} }}}}", " + 1".repeat(50_000))),
        ("50,000 attributes", format!("{{{{ messages{} }}}}", ".a".repeat(50_000))),
        ("50,000 filters", format!("{{{{ 1{} }}}}", " | abs".repeat(50_000))),
        ("50,000 conditions", format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(50_000))),
        ("50,000 ifs", "{% if true %}".repeat(50_000)),
        ("50,000 elifs without an end", format!("{{% if 0 %}}{}", "{% elif 0 %}".repeat(50_000))),
    ]
}

/// Values that grow.
fn large_values() -> Vec<(&'static str, String)> {
    let holds_itself = "{% set n = namespace() %}{% set n.n = n %}";
    let doubling = |what: &str| {
        format!(
            "{{% set n = namespace(x={what}) %}}{}{{{{ n.x | length }}}}",
            nested(1, "{% set n.x = n.x + n.x %}")
        )
    };
    vec![
        ("namespace in itself through tojson", format!("{holds_itself}{{{{ n | tojson }}}}")),
        ("huge indent", "{{ 'a\nb' | indent(10 ** 12) }}".into()),
        ("huge indent of tojson", "{{ [[[1]]] | tojson(indent=10 ** 9) }}".into()),
        ("huge batch", "{{ [1] | batch(10 ** 12, 'x') | list }}".into()),
        ("endless loops", nested(4, "x")),
        ("endless loops that print nothing", nested(3, "{% if false %}{% endif %}")),
        ("doubling strings", doubling("'xxxxxxxx'")),
        ("doubling lists", doubling("[1, 2]")),
        ("repeated text", "{{ 'x' * 10 ** 11 }}".into()),
        ("repeated list", "{{ [0] * 10 ** 11 }}".into()),
        ("repeated empty lists", "{{ [[]] * 10 ** 9 }}".into()),
        ("wide center", "{{ 'x'.center(10 ** 12) }}".into()),
        ("wide format", "{{ '%1000000000000d' % 1 }}".into()),
        ("wide field", "{{ '{:>99999999999}'.format(1) }}".into()),
        ("precise float", "{{ '%.99999999999f' % 1.5 }}".into()),
        ("grouped field", "{{ '{:099999999,}'.format(1) }}".into()),
        ("zfill", "{{ '1'.zfill(10 ** 10) }}".into()),
        ("tabs", "{{ ('\t' * 1000).expandtabs(10 ** 8) }}".into()),
        ("power", "{{ 9 ** (9 ** 9) }}".into()),
        ("power of a power", nested(1, "{% set n = 7 ** 90000 %}{% set m = n * n * n %}")),
        ("digits", "{{ 10 ** 5000 }}".into()),
        ("macro that calls itself", "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}".into()),
    ]
}

/// Recursion, values within values, and work without end.
fn long_work() -> Vec<(&'static str, String)> {
    vec![
        ("macros that call themselves twice", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}".into()),
        ("loop that calls itself", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".into()),
        ("caller that calls itself", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{% call m() %}{{ caller() }}{% endcall %}{% endcall %}".into()),
        ("nesting lists", format!("{{% set n = namespace(x=[]) %}}{}", nested(1, "{% set n.x = [n.x] %}"))),
        ("nesting dicts", format!("{{% set n = namespace(x={{}}) %}}{}", nested(1, "{% set n.x = {'a': n.x} %}"))),
        ("nesting tuples as keys", format!("{{% set n = namespace(x=()) %}}{}", nested(1, "{% set n.x = (n.x, n.x) %}{% set d = {n.x: 1} %}"))),
        ("shared lists printed", format!("{{% set n = namespace(x=[1]) %}}{}{{{{ n.x }}}}", "{% set n.x = [n.x, n.x] %}".repeat(40))),
        ("shared lists as JSON", format!("{{% set n = namespace(x=[1]) %}}{}{{{{ n.x | tojson }}}}", "{% set n.x = [n.x, n.x] %}".repeat(40))),
        ("shared lists compared", format!("{{% set n = namespace(x=[1], y=[1]) %}}{}{{{{ n.x == n.y }}}}", "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}".repeat(40))),
        ("shared lists in pprint", format!("{{% set n = namespace(x=[1]) %}}{}{{{{ n.x | pprint }}}}", "{% set n.x = [n.x, n.x] %}".repeat(40))),
        ("namespaces in a chain", format!("{{% set r = namespace() %}}{{% set h = namespace(c=r) %}}{}{{{{ r }}}}", nested(1, "{% set c = h.c %}{% set n = namespace() %}{% set c.next = n %}{% set h.c = n %}"))),
        ("macros in a chain", format!("{{% set h = namespace(c=none) %}}{{% macro f(p) %}}{{% macro g() %}}{{{{ p }}}}{{% endmacro %}}{{% set h.c = g %}}{{% endmacro %}}{}{{{{ 1 / 0 }}}}", nested(1, "{{ f(h.c) }}"))),
        ("split into characters", "{% set x = 'a,' * 10000000 %}{{ x.split(',') | length }}".into()),
        ("replaced by more", "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}".into()),
        ("joined by more", "{{ ('b' * 10000000).join('a' * 100000) }}".into()),
        ("slices without end", "{{ [1] | slice(10 ** 12) | list }}".into()),
        ("wrapped", "{{ ('a' * 30000000) | wordwrap(1) }}".into()),
        ("joiners in joiners", format!("{{% set n = namespace(j='') %}}{}", nested(2, "{% set n.j = joiner(n.j) %}"))),
        ("loops in what loops keep", format!("{{% set n = namespace(l='', p='') %}}{}", nested(2, "{% for j in [1] %}{% set n.l = loop %}{% endfor %}{% set x = n.l.changed(n.p) %}{% set n.p = n.l %}"))),
        ("long names of what is absent", format!("{{% set s = 'x' * 30000000 %}}{{% set n = namespace(x=[]) %}}{}", nested(1, "{% set n.x = n.x + [{}[s]] %}"))),
        ("lengths again and again", format!("{{% set s = 'é' * 10000000 %}}{}", nested(1, "{% set x = s | length %}"))),
        ("beginnings again and again", "{% set t = 'a' * 1000000 %}{{ t.startswith((t + 'b',) * 1000000) }}".into()),
        ("rounded to a power of ten", nested(1, "{{ (7 ** 90000) | round(-70000) }}")),
        ("sorted again and again", nested(1, "{% set x = range(100000) | sort %}")),
        ("searched again and again", format!("{{% set t = 'a' * 1000000 %}}{}", nested(1, "{{ 'b' in t }}"))),
        ("strftime", "{{ strftime_now('%Y' * 100000) }}".into()),
        ("namespaces without end", nested(2, "{% set n = namespace() %}")),
        ("macros without end", nested(2, "{% macro m() %}{% endmacro %}")),
        ("attributes without end", format!("{{% set n = namespace() %}}{}", nested(2, "{% set n.a = [n.a, a, b] | string %}"))),
    ]
}

#[test]
fn each_ends_with_an_error() {
    let _turn = turn();
    let before = peak();
    for (name, source) in [deep_sources(), large_values(), long_work()].concat() {
        ends(name, &source);
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes");
}

/// Large but harmless input is rendered: a thousand turns, and chains of `elif` and `~` of any length.
#[test]
fn long_templates_and_conversations_render() {
    let _turn = turn();
    let elifs = format!("{{% if 0 %}}{}{{% else %}}end{{% endif %}}", "{% elif 0 %}".repeat(20_000));
    assert_eq!(render(&elifs).unwrap(), "end");
    assert_eq!(render(&format!("{{{{ ''{} }}}}", " ~ 1".repeat(20_000))).unwrap().len(), 20_000);
    let source = "{% for m in messages %}{% set rest = messages[loop.index:] %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}";
    let turn = |i: usize| json!({"role": "user", "content": format!("{i} {}", "word ".repeat(400))});
    let variables = json!({"messages": (0..1000).map(turn).collect::<Vec<_>>()});
    let text = Template::parse(source).unwrap().render(variables.as_object().unwrap()).unwrap();
    assert_eq!(text.matches("user: ").count(), 1000);
}

/// Words of the language, between blanks.
const PIECES: &str = "{{ }} {% %} {# #} - + for x in if else endif endfor set = [ ] ( ) { } 'a' 1 2.5 | ~ is not and . , : \
    macro endmacro call endcall loop recursive messages namespace tojson length * ** // % é \u{fdd0} raw endraw filter \
    endfilter map join range break generation endgeneration";

/// Pieces of templates in any order neither end the program nor run for long.
#[test]
fn random_templates_end() {
    let _turn = turn();
    let mut pieces: Vec<&str> = PIECES.split(' ').collect();
    pieces.extend([" ", "\n"]);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let whole = include_str!("data/expressions.txt");
    let lines: Vec<&str> = whole.lines().filter(|l| l.contains("{%") || l.contains("{{")).collect();
    for round in 0..4000 {
        let mut source = String::new();
        if round % 2 == 0 {
            let line: Vec<char> = lines[random(lines.len())].chars().collect();
            let at = random(line.len());
            source.extend(&line[..at]);
            source.push_str(pieces[random(pieces.len())]);
            source.extend(&line[(at + random(4)).min(line.len())..]);
        } else {
            for _ in 0..random(30) {
                source.push_str(pieces[random(pieces.len())]);
                source.push_str([" ", ""][random(2)]);
            }
        }
        if let Err(e) = render(&source) {
            assert!(!e.contains("cannot be rendered"), "{source:?} panics");
        }
    }
}
