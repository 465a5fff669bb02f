#include "coppice/instance/log_record.h"

#include "coppice/base/error.h"

#include <algorithm>
#include <array>

namespace coppice::instance {

namespace {

constexpr std::string_view kTimeForm = "0000-00-00T00:00:00.000000000Z";
constexpr std::string_view kOut = " stdout ", kError = " stderr ";
static_assert(kTimeForm.size() + kOut.size() + 2 == kRecordHeadBytes && kOut.size() == kError.size());

bool is_time(std::string_view text)
{
    return std::equal(text.begin(), text.end(), kTimeForm.begin(), kTimeForm.end(),
                      [](char c, char form) { return form == '0' ? c >= '0' && c <= '9' : c == form; });
}

} // namespace

void append_record(std::string& out, const LogRecord& record)
{
    COPPICE_CHECK(record.time.size() == kTimeForm.size());
    std::array<char, kRecordHeadBytes> head{}; // put together first: it is longer than many a line
    const auto stream = std::copy(record.time.begin(), record.time.end(), head.begin());
    const auto tag = std::copy(kOut.begin(), kOut.end(), stream);
    if (record.stream == LogStream::Error) std::copy(kError.begin(), kError.end(), stream);
    tag[0] = record.is_partial ? 'P' : 'F';
    tag[1] = ' ';
    out.append(head.data(), head.size());
    out += record.text;
    out += '\n';
}

std::optional<LogRecord> parse_record(std::string_view line)
{
    if (line.size() < kRecordHeadBytes || !is_time(line.substr(0, kTimeForm.size()))) return {};
    const auto stream = line.substr(kTimeForm.size(), kOut.size());
    const auto tag = line.substr(kRecordHeadBytes - 2, 2);
    if ((stream != kOut && stream != kError) || (tag != "P " && tag != "F ")) return {};
    return LogRecord{.time = line.substr(0, kTimeForm.size()),
                     .stream = stream == kOut ? LogStream::Out : LogStream::Error,
                     .is_partial = tag == "P ",
                     .text = line.substr(kRecordHeadBytes)};
}

} // namespace coppice::instance
