//! The codec of the generated client and server: prost's, with a check in front and room made at once.

use std::marker::PhantomData;

use bytes::Buf;
use millrace_types::ErrorCode;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use crate::shape::{Shape, check_shape};
use crate::v1;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct CheckedCodec<T, U> {
    messages: PhantomData<(T, U)>,
}

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        CheckedCodec { messages: PhantomData }
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + 'static,
    U: Message + Default + Shape + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = CheckedCodec<T, U>;
    type Decoder = CheckedCodec<T, U>;

    fn encoder(&mut self) -> Self {
        CheckedCodec::default()
    }

    fn decoder(&mut self) -> Self {
        CheckedCodec::default()
    }
}

impl<T: Message, U> Encoder for CheckedCodec<T, U> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Otherwise the buffer grows by doubling, and every step copies what is there.
        buf.reserve(item.encoded_len());
        item.encode(buf).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<T, U: Message + Default + Shape> Decoder for CheckedCodec<T, U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let refuse = |message: String| {
            v1::Error::new(ErrorCode::InvalidRequest, message).into_status(Code::InvalidArgument)
        };
        // tonic hands over one message, in one piece.
        check_shape::<U>(buf.chunk()).map_err(|error| refuse(error.to_string()))?;
        U::decode(buf).map(Some).map_err(|error| refuse(error.to_string()))
    }
}
