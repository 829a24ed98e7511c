//! How gRPC's messages are read and written: read by prost, written as the bytes that are there already.

use std::marker::PhantomData;

use axum::body::Bytes;
use prost::Message;
use prost::bytes::BufMut as _;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// How much memory a call begins with, in bytes. Most messages are empty.
const BUFFER: usize = 512;
/// How many bytes of several messages go out together.
const YIELD: usize = 16 * 1024;

/// Reads an `M`, writes bytes.
#[derive(Debug)]
pub(super) struct Wire<M>(PhantomData<M>);

impl<M> Default for Wire<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Default + 'static> Codec for Wire<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = Ready;
    type Decoder = Reader<M>;

    fn encoder(&mut self) -> Ready {
        Ready
    }

    fn decoder(&mut self) -> Reader<M> {
        Reader(PhantomData)
    }
}

/// Writes what is encoded already.
#[derive(Debug)]
pub(super) struct Ready;

impl Encoder for Ready {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

/// Reads a message.
#[derive(Debug)]
pub(super) struct Reader<M>(PhantomData<M>);

impl<M: Message + Default> Decoder for Reader<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(from)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("the message cannot be read: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}
