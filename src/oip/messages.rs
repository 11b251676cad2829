//! The protocol's messages: names and numbers are those of KServe's `grpc_predict_v2.proto` (package `inference`), with the
//! two kinds of parameters that Triton has added.

use std::collections::HashMap;

use prost::bytes::Bytes;
use prost::{Message, Oneof};

/// Asks for nothing: `ServerLiveRequest`, `ServerReadyRequest`, `ServerMetadataRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// `ServerLiveResponse`, `ServerReadyResponse`, `ModelReadyResponse`: each says yes or no in its first field.
#[derive(Clone, PartialEq, Message)]
pub struct Yes {
    /// Live, or ready.
    #[prost(bool, tag = "1")]
    pub yes: bool,
}

/// `ServerMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ServerMetadata {
    /// Program.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Extensions of the protocol that it knows.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// `ModelReadyRequest`, `ModelMetadataRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelName {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Version; empty leaves it to the server.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ModelMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelMetadata {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Versions that may be asked for.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// What runs it.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// What goes in.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    /// What comes out.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
}

/// `ModelMetadataResponse.TensorMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorMetadata {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Kind of numbers.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Sizes; −1 is any.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// `InferParameter`.
#[derive(Clone, PartialEq, Message)]
pub struct Parameter {
    /// Its value.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    pub value: Option<Value>,
}

/// `InferParameter.parameter_choice`.
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// Yes or no.
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "2")]
    Int64(i64),
    /// Text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A number; of Triton.
    #[prost(double, tag = "4")]
    Double(f64),
    /// A whole number; of Triton.
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

/// `InferTensorContents`: numbers that do not travel raw.
#[derive(Clone, PartialEq, Message)]
pub struct Contents {
    /// BOOL.
    #[prost(bool, repeated, tag = "1")]
    pub bools: Vec<bool>,
    /// INT8, INT16, INT32.
    #[prost(int32, repeated, tag = "2")]
    pub ints: Vec<i32>,
    /// INT64.
    #[prost(int64, repeated, tag = "3")]
    pub ints64: Vec<i64>,
    /// UINT8, UINT16, UINT32.
    #[prost(uint32, repeated, tag = "4")]
    pub uints: Vec<u32>,
    /// UINT64.
    #[prost(uint64, repeated, tag = "5")]
    pub uints64: Vec<u64>,
    /// FP32.
    #[prost(float, repeated, tag = "6")]
    pub floats: Vec<f32>,
    /// FP64.
    #[prost(double, repeated, tag = "7")]
    pub doubles: Vec<f64>,
    /// BYTES.
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub bytes: Vec<Bytes>,
}

/// `ModelInferRequest.InferInputTensor` and `ModelInferResponse.InferOutputTensor`, which are alike.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Kind of numbers.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Sizes.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// Free.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// The numbers, unless they travel raw.
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

/// `ModelInferRequest.InferRequestedOutputTensor`.
#[derive(Clone, PartialEq, Message)]
pub struct Wanted {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Free.
    #[prost(map = "string, message", tag = "2")]
    pub parameters: HashMap<String, Parameter>,
}

/// `ModelInferRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct InferRequest {
    /// Model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version; empty leaves it to the server.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The caller's name for this request.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Free; `timeout` in microseconds, as Triton has it.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// What goes in.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Tensor>,
    /// What is to come out; none asks for all.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<Wanted>,
    /// The inputs' numbers, little endian.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw_input_contents: Vec<Bytes>,
}

/// `ModelInferResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct InferResponse {
    /// Model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The caller's name for the request.
    #[prost(string, tag = "3")]
    pub id: String,
    /// Free.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// What comes out.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
    /// The outputs' numbers, little endian.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_output_contents: Vec<Bytes>,
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct HealthRequest {
    /// Empty asks about the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct HealthResponse {
    /// 1 serves, 2 does not.
    #[prost(int32, tag = "1")]
    pub status: i32,
}
