"""Messages read one level deep: whatever is a message inside stays the bytes that it came as.

Moving parts from one message into another needs no look into them. A shallow twin has the fields of its message
under the same numbers, but each field of a message type is bytes, and of an enum a number. Reading one costs a few
microseconds whatever the message holds, and a part is copied as one piece.

Only for encodings in which a field that is no list stands once, as every encoder writes them: of two occurrences of
a message protobuf would make one, and a shallow twin keeps the last.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_AS = {
    FieldDescriptor.TYPE_MESSAGE: FieldDescriptorProto.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM: FieldDescriptorProto.TYPE_INT32,
}


def shallow(deep: type[Message]) -> Any:
    """The class of a message's shallow twin; a part knows whether it is set where the message knew it."""
    descriptor = deep.DESCRIPTOR
    file = FileDescriptorProto(
        name=f"shallow/{descriptor.full_name}.proto", package="diego.shallow", syntax="proto3"
    )
    twin = file.message_type.add(name=descriptor.name)
    for each in descriptor.fields:
        field = twin.field.add(name=each.name, number=each.number)
        field.type = _AS.get(kind := FieldDescriptorProto.Type.ValueType(each.type), kind)
        field.label = (
            FieldDescriptorProto.LABEL_REPEATED if each.is_repeated else FieldDescriptorProto.LABEL_OPTIONAL
        )
        if each.is_repeated and each.type != FieldDescriptor.TYPE_MESSAGE:
            field.options.packed = each.is_packed
        if each.has_presence:
            field.proto3_optional = True
            field.oneof_index = len(twin.oneof_decl)
            twin.oneof_decl.add(name=f"_{each.name}")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"diego.shallow.{descriptor.name}"))
