//! Files as `torch.save` writes them, from tensors and from bytes of pickles: what training scripts leave behind.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::seeded::Tensors;

/// A pickle in the making, and the storages that it names.
#[derive(Default)]
pub struct Pickle {
    pub bytes: Vec<u8>,
    pub storages: Vec<Vec<u8>>,
    /// Other bytes of a number first.
    pub big_endian: bool,
}

impl Pickle {
    /// Any opcodes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes())
    }

    fn int(&mut self, value: usize) -> &mut Self {
        self.bytes.push(b'J');
        self.raw(&(value as u32).to_le_bytes())
    }

    fn tuple(&mut self, values: &[usize]) -> &mut Self {
        self.raw(b"(");
        values.iter().for_each(|&value| _ = self.int(value));
        self.raw(b"t")
    }

    /// A tensor of a storage of its own, its elements where `strides` say.
    pub fn strided(&mut self, shape: &[usize], strides: &[usize], stored: &[f32]) -> &mut Self {
        let key = self.storages.len().to_string();
        let big = self.big_endian;
        let bytes = |value: &f32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.storages.push(stored.iter().flat_map(bytes).collect());
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage").raw(b"ctorch\nFloatStorage\n");
        self.text(&key).text("cuda:0").int(stored.len()).raw(b"tQ").int(0).tuple(shape).tuple(strides);
        self.raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    /// A tensor in C order.
    pub fn tensor(&mut self, shape: &[usize], values: &[f32]) -> &mut Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        self.strided(shape, &strides, values)
    }

    /// A dictionary of tensors, each name behind `prefix`.
    pub fn tensors(&mut self, tensors: &Tensors, prefix: &str) -> &mut Self {
        self.raw(b"ccollections\nOrderedDict\n)R(");
        for (name, (shape, values)) in tensors {
            self.text(&format!("{prefix}{name}")).tensor(shape, values);
        }
        self.raw(b"u")
    }

    /// As torch writes it since 1.6.
    pub fn save(&self, path: &Path) -> PathBuf {
        let mut zip = ZipWriter::new(std::fs::File::create(path).unwrap());
        let mut put = |name: String, bytes: &[u8]| {
            zip.start_file(format!("archive/{name}"), SimpleFileOptions::default().compression_method(STORED)).unwrap();
            zip.write_all(bytes).unwrap();
        };
        put("data.pkl".to_owned(), &[b"\x80\x02", &self.bytes[..], b"."].concat());
        put("byteorder".to_owned(), if self.big_endian { b"big" } else { b"little" });
        for (key, storage) in self.storages.iter().enumerate() {
            put(format!("data/{key}"), storage);
        }
        put("version".to_owned(), b"3\n");
        zip.finish().unwrap();
        path.to_owned()
    }

    /// As torch wrote it before.
    pub fn save_old(&self, path: &Path) -> PathBuf {
        let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
        file.extend([b"\x80\x02", &self.bytes[..], b"."].concat());
        let mut keys = Self::default();
        keys.raw(b"\x80\x02](");
        (0..self.storages.len()).for_each(|key| _ = keys.text(&key.to_string()));
        file.extend_from_slice(&keys.raw(b"e.").bytes);
        for storage in &self.storages {
            file.extend((storage.len() as u64 / 4).to_le_bytes());
            file.extend_from_slice(storage);
        }
        std::fs::write(path, file).unwrap();
        path.to_owned()
    }
}

const STORED: zip::CompressionMethod = zip::CompressionMethod::Stored;
