//! Python's dict: keys of several types, in insertion order.
//!
//! In: pairs of values. Out: a dict, or an error for keys that Python cannot hash. Invariant: keys that are equal in
//! Python (1, 1.0 and true) are one key, and the first one given stays.

use indexmap::IndexMap;
use num_bigint::BigInt;
use num_traits::FromPrimitive;

use crate::error::{refuse, Outcome};
use crate::meter::{self, Charge};
use crate::value::{deeper, Text, Value, HEADER};

/// A value as a key: equal keys are equal values.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    None,
    Undefined,
    Int(i64),
    Big(BigInt),
    /// The bits of a float that is no integer.
    Float(u64),
    Str(Text),
    Tuple(Vec<Key>),
    /// The type and address or index of what is equal only to itself.
    Same(&'static str, usize),
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        match (self, other) {
            (Key::None, Key::None) | (Key::Undefined, Key::Undefined) => true,
            (Key::Int(a), Key::Int(b)) => a == b,
            (Key::Big(a), Key::Big(b)) => a == b,
            (Key::Float(a), Key::Float(b)) => a == b,
            (Key::Str(a), Key::Str(b)) => **a == **b,
            (Key::Tuple(a), Key::Tuple(b)) => a == b,
            (Key::Same(a, b), Key::Same(c, d)) => a == c && b == d,
            _ => false,
        }
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Key::None | Key::Undefined => {}
            Key::Int(i) => i.hash(state),
            Key::Big(i) => i.hash(state),
            Key::Float(bits) => bits.hash(state),
            Key::Str(s) => (**s).hash(state),
            Key::Tuple(items) => items.hash(state),
            Key::Same(_, at) => at.hash(state),
        }
    }
}

impl Key {
    pub fn of(value: &Value) -> Outcome<Key> {
        meter::spend(1)?;
        Ok(match value {
            Value::None => Key::None,
            Value::Undefined(_) => Key::Undefined,
            Value::Bool(b) => Key::Int(i64::from(*b)),
            Value::Int(i) => Key::Int(*i),
            Value::Big(i) => Key::Big(i.0.clone()),
            Value::Float(f) if f.fract() == 0.0 => match BigInt::from_f64(*f) {
                Some(whole) => match i64::try_from(&whole) {
                    Ok(small) => Key::Int(small),
                    Err(_) => Key::Big(whole),
                },
                None => Key::Float(f.to_bits()),
            },
            Value::Float(f) => Key::Float(f.to_bits()),
            Value::Str(s) => {
                meter::spend_bytes(s.len())?;
                Key::Str(s.clone())
            }
            Value::Tuple(items) => {
                meter::stack()?;
                Key::Tuple(items.iter().map(Key::of).collect::<Outcome<_>>()?)
            }
            Value::Range(r) => {
                Key::Tuple(vec![Key::Same("range", r.len()), Key::Int(r.start), Key::Int(r.step)])
            }
            Value::Namespace(i) | Value::Macro(i) => Key::Same(value.kind(), *i),
            Value::Function(f) => Key::Same("function", *f as usize),
            Value::Loop(p) => Key::Same("loop", std::rc::Rc::as_ptr(p) as usize),
            Value::Iter(p) => Key::Same("iter", std::rc::Rc::as_ptr(p) as usize),
            Value::Cycler(p) => Key::Same("cycler", std::rc::Rc::as_ptr(p) as usize),
            Value::Joiner(p) => Key::Same("joiner", std::rc::Rc::as_ptr(p) as usize),
            Value::Method(p) => Key::Same("method", std::rc::Rc::as_ptr(p) as usize),
            Value::List(_) | Value::Dict(_) | Value::View(..) => {
                return refuse(format!("unhashable type: '{}'", value.kind()));
            }
        })
    }
}

/// A dict.
#[derive(Debug)]
pub(crate) struct Dict {
    map: IndexMap<Key, (Value, Value)>,
    depth: u16,
    _charge: Charge,
}

impl Dict {
    pub fn new(pairs: impl IntoIterator<Item = Outcome<(Value, Value)>>) -> Outcome<Dict> {
        let mut map: IndexMap<Key, (Value, Value)> = IndexMap::new();
        for pair in pairs {
            let (key, value) = pair?;
            let hashed = Key::of(&key)?;
            match map.get_mut(&hashed) {
                Some(old) => old.1 = value,
                None => {
                    map.insert(hashed, (key, value));
                }
            }
            if map.len().is_power_of_two() {
                meter::room(map.len() * 2 * 96)?;
            }
        }
        let depths = map.values().map(|(key, value)| key.depth().max(value.depth()));
        let depth = deeper(depths.max().unwrap_or(0))?;
        let charge = meter::charge(map.len() * 96 + HEADER)?;
        Ok(Dict { map, depth, _charge: charge })
    }

    pub fn get(&self, key: &Value) -> Outcome<Option<&Value>> {
        Ok(self.map.get(&Key::of(key)?).map(|(_, value)| value))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Value, &Value)> + ExactSizeIterator {
        self.map.values().map(|(key, value)| (key, value))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn depth(&self) -> u16 {
        self.depth
    }
}
