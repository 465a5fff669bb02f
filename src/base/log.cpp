#include "coppice/base/log.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"

#include <unistd.h>

namespace coppice::log {

namespace {

struct Sink {
    std::string program = "coppice";
    int fd = STDERR_FILENO;
    Format format = Format::Text;
    Level least = Level::Info;
};

Sink& sink()
{
    static Sink the_sink;
    return the_sink;
}

std::string_view word(Level level)
{
    switch (level) {
    case Level::Debug: return "debug";
    case Level::Info: return "info";
    case Level::Warn: return "warning"; // logrus' word, which podman parses
    case Level::Error: return "error";
    }
    return "error";
}

} // namespace

void configure(std::string program, int fd, Format format, Level least)
{
    sink() = Sink{std::move(program), fd, format, least};
}

void write(Level level, std::string_view module, std::string_view event, std::initializer_list<Field> fields)
{
    const Sink& out = sink();
    if (level < out.least) return;
    std::string message = module.empty() ? std::string{event} : cat(module, ": ", event);
    for (const Field& field : fields)
        message += cat(' ', field.name, '=', field.value);

    std::string line;
    if (out.format == Format::Json) {
        line = cat("{\"level\":\"", word(level), "\",\"msg\":", json_quote(message), ",\"time\":\"", to_rfc3339(now()),
                   "\"}\n");
    } else {
        line = cat(out.program, ": ", level == Level::Error ? "" : cat(word(level), ": "), message, '\n');
    }
    [[maybe_unused]] const auto written = ::write(out.fd, line.data(), line.size());
}

} // namespace coppice::log
