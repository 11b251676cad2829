//! A second opinion on Sparkplug payloads: the wire format of protocol buffers read byte by byte, sharing no code with the
//! product. Field numbers as in the public Sparkplug B schema.

use std::collections::BTreeMap;

use super::mosquitto::Message;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(String),
}

#[derive(Clone, Debug)]
pub struct Told {
    pub value: Value,
    pub datatype: u64,
    pub historical: bool,
    pub timestamp: u64,
}

/// One message of an edge node.
#[derive(Clone, Debug)]
pub struct Spark {
    pub kind: String,
    pub device: Option<String>,
    pub retained: bool,
    pub seq: Option<u64>,
    pub metrics: BTreeMap<String, Told>,
}

/// A field as it stands on the wire.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64(u64),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            1 => Field::Fixed64(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?)),
            _ => return None,
        };
        found.push((tag >> 3, field));
    }
    Some(found)
}

fn metric(bytes: &[u8]) -> Option<(String, Told)> {
    let mut name = String::new();
    let mut told = Told { value: Value::Null, datatype: 0, historical: false, timestamp: 0 };
    let mut null = false;
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (1, Field::Bytes(text)) => name = String::from_utf8(text.to_vec()).ok()?,
            (3, Field::Varint(at)) => told.timestamp = at,
            (4, Field::Varint(datatype)) => told.datatype = datatype,
            (5, Field::Varint(flag)) => told.historical = flag == 1,
            (7, Field::Varint(flag)) => null = flag == 1,
            (10, Field::Varint(value)) => told.value = Value::Int(u32::try_from(value).ok()?),
            (11, Field::Varint(value)) => told.value = Value::Long(value),
            (12, Field::Fixed32(bits)) => told.value = Value::Float(f32::from_bits(bits)),
            (13, Field::Fixed64(bits)) => told.value = Value::Double(f64::from_bits(bits)),
            (14, Field::Varint(flag)) => told.value = Value::Boolean(flag == 1),
            (15, Field::Bytes(text)) => told.value = Value::Text(String::from_utf8(text.to_vec()).ok()?),
            _ => return None,
        }
    }
    // No UInt32: Eclipse Tahu's decoder for JavaScript (npm sparkplug-payload 1.0.3) looks for it in long_value, where
    // others do not write it. And no value without its type: the same decoder then reads none.
    let fits = match (&told.value, told.datatype) {
        (Value::Null, 4 | 8..=12) => null,
        (Value::Long(_), 4 | 8) | (Value::Float(_), 9) | (Value::Double(_), 10) => !null,
        (Value::Boolean(_), 11) | (Value::Text(_), 12) => !null,
        _ => false,
    };
    fits.then_some((name, told))
}

impl Spark {
    /// Reads what `mosquitto_sub` has printed in hexadecimal. A command of a host may be nonsense, a node's words may not.
    pub fn of(message: &Message) -> Self {
        let parts: Vec<&str> = message.topic.split('/').collect();
        let [_, _, kind, _, device @ ..] = parts.as_slice() else { panic!("{message:?}") };
        let (kind, device) = ((*kind).to_owned(), device.first().map(|&name| name.to_owned()));
        let mut spark = Self { kind, device, retained: message.retained, seq: None, metrics: BTreeMap::new() };
        if spark.kind == "NCMD" {
            return spark;
        }
        let digit = |at: usize| u8::from_str_radix(&message.payload[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..message.payload.len()).step_by(2).map(digit).collect();
        let all = fields(&bytes).unwrap_or_else(|| panic!("no protocol buffer: {message:?}"));
        assert!(all.iter().any(|(number, _)| *number == 1), "no timestamp: {message:?}");
        for (number, field) in all {
            match (number, field) {
                (1, Field::Varint(_)) => {}
                (2, Field::Bytes(bytes)) => {
                    let (name, told) = metric(bytes).unwrap_or_else(|| panic!("a metric of {message:?}"));
                    assert!(!name.is_empty() && spark.metrics.insert(name, told).is_none(), "{message:?}");
                }
                (3, Field::Varint(seq)) => spark.seq = Some(seq),
                _ => panic!("field {number} of {message:?}"),
            }
        }
        spark
    }

    pub fn value(&self, name: &str) -> &Value {
        &self.metrics.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).value
    }

    pub fn long(&self, name: &str) -> u64 {
        let Value::Long(value) = self.value(name) else { panic!("{name} of {self:?}") };
        *value
    }

    /// All metrics are from the past, or none is.
    pub fn historical(&self) -> bool {
        let old = self.metrics.values().filter(|told| told.historical).count();
        assert!(old == 0 || old == self.metrics.len(), "{self:?}");
        old > 0
    }
}

/// A command for all births, or (false) one that asks for none.
pub fn rebirth(yes: bool) -> Vec<u8> {
    let name = b"Node Control/Rebirth";
    let mut metric = vec![0x0a, name.len() as u8];
    metric.extend(name);
    metric.extend([0x20, 11, 0x70, u8::from(yes)]);
    let mut payload = vec![0x08, 1, 0x12, metric.len() as u8];
    payload.extend(metric);
    payload
}
