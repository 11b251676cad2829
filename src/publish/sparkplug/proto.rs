//! The part of the Sparkplug B payload that this edge node speaks, with the field numbers of its public protocol buffer.

use prost::{Message, Oneof};

/// Data type numbers of the Sparkplug specification, section 6.4.16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DataType {
    /// Signed, 64 bits.
    Int64 = 4,
    /// Unsigned, 64 bits.
    UInt64 = 8,
    /// IEEE 754, 32 bits.
    Float = 9,
    /// IEEE 754, 64 bits.
    Double = 10,
    /// True or false.
    Boolean = 11,
    /// UTF-8.
    String = 12,
}

/// One message.
#[derive(Clone, PartialEq, Message)]
pub struct Payload {
    /// When it was sent, milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// What it says.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    /// 0 … 255; a death has none.
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
}

/// One named value.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Name, the same in births and data.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// When the value was taken, milliseconds since 1970.
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    /// A [`DataType`].
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    /// It was stored; the host's current value stays what it is.
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    /// There is no value.
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    /// The value.
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15")]
    pub value: Option<Value>,
}

/// A value by its width on the wire.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// Up to 32 bits.
    #[prost(uint32, tag = "10")]
    Int(u32),
    /// 64 bits.
    #[prost(uint64, tag = "11")]
    Long(u64),
    /// 32 bits.
    #[prost(float, tag = "12")]
    Float(f32),
    /// 64 bits.
    #[prost(double, tag = "13")]
    Double(f64),
    /// True or false.
    #[prost(bool, tag = "14")]
    Boolean(bool),
    /// UTF-8.
    #[prost(string, tag = "15")]
    Text(String),
}

impl Metric {
    /// A value, or the statement that there is none, taken at `at` (milliseconds since 1970).
    pub fn new(name: &str, datatype: DataType, value: Option<Value>, at: u64) -> Self {
        Self {
            name: Some(name.into()),
            timestamp: Some(at),
            datatype: Some(datatype as u32),
            is_historical: None,
            is_null: value.is_none().then_some(true),
            value,
        }
    }
}
