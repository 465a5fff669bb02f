#include "coppice/os/dbus.h"

#include "coppice/base/error.h"

#include <string_view>

/// Input: what a bus sends. A message that is understood says the same after it was written and read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    using namespace coppice::os::dbus;
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    const auto length = message_length(bytes);
    if (!length || !*length || **length > size) return 0;
    const auto message = decode(bytes.substr(0, **length));
    if (!message) return 0;
    const auto again = decode(encode(*message));
    COPPICE_CHECK(again.has_value());
    COPPICE_CHECK(again->body == message->body && again->member == message->member);
    COPPICE_CHECK(again->sender == message->sender && again->error_name == message->error_name);
    COPPICE_CHECK(again->serial == message->serial && again->reply_serial == message->reply_serial);
    Reader body{message->body};
    for (const char type : message->signature)
        if (!body.skip(type)) break;
    [[maybe_unused]] const auto text = Reader{message->body}.variant_text();
    return 0;
}
