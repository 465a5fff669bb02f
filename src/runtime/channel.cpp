#include "channel.h"

#include "coppice/base/text.h"

namespace coppice::runtime {

Result<> Channel::say(Word word, std::string_view text, const std::vector<int>& fds) const
{
    return os::send_message(socket_, cat(static_cast<char>(word), text), fds);
}

Result<os::Message> Channel::listen(Word& word) const
{
    auto message = TRY(os::receive_message(socket_, 256U << 10));
    if (message.bytes.empty()) return fail(ErrorKind::Gone, "the other process of the creation has died");
    word = static_cast<Word>(message.bytes.front());
    message.bytes.erase(0, 1);
    if (word == Word::Failed) return fail(decode_error(message.bytes));
    return message;
}

Result<os::Message> Channel::expect(Word word) const
{
    Word got{};
    auto message = TRY(listen(got));
    COPPICE_CHECK(got == word);
    return message;
}

void Channel::report(const Error& error) const
{
    // The peer may have gone; then there is nobody left to tell.
    [[maybe_unused]] const auto said = say(Word::Failed, encode(error));
}

} // namespace coppice::runtime
