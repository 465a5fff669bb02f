#include "coppice/daemon/router.h"

#include "coppice/base/text.h"

#include <algorithm>

namespace coppice::daemon {

namespace {

constexpr std::size_t kMaxTarget = 8U << 10;
constexpr std::size_t kMaxSegments = 32, kMaxParameters = 64;

int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

Result<std::string> decode(std::string_view text, bool plus_is_space)
{
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
            const int low = high < 0 ? -1 : hex_value(text[i + 2]);
            if (low < 0)
                return fail(ErrorKind::Invalid, "the request target has a % that no two hexadecimal digits follow");
            c = static_cast<char>(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return fail(ErrorKind::Invalid, "the request target holds a control character");
        decoded += c;
    }
    return decoded;
}

std::vector<std::string_view> split(std::string_view text, char separator)
{
    std::vector<std::string_view> parts;
    for (;;) {
        const auto end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

Result<std::map<std::string, std::string>> parse_query(std::string_view text)
{
    std::map<std::string, std::string> query;
    if (text.empty()) return query;
    for (const auto part : split(text, '&')) {
        if (query.size() == kMaxParameters)
            return fail(ErrorKind::Invalid, "the request has too many query parameters");
        const auto equals = part.find('=');
        auto name = TRY(decode(part.substr(0, equals), true));
        auto value = TRY(decode(equals == std::string_view::npos ? "" : part.substr(equals + 1), true));
        if (name.empty()) return fail(ErrorKind::Invalid, "a query parameter has no name");
        if (!query.emplace(name, std::move(value)).second)
            return fail(ErrorKind::Invalid, cat("the query parameter ", name, " is given twice"));
    }
    return query;
}

bool is_parameter(std::string_view segment) { return segment.starts_with('{') && segment.ends_with('}'); }

bool fits(const std::vector<std::string>& form, const std::vector<std::string>& segments)
{
    return std::equal(form.begin(), form.end(), segments.begin(), segments.end(),
                      [](const std::string& f, const std::string& s) { return is_parameter(f) || f == s; });
}

/// A word is a better fit than a parameter: /v1/operations/all before /v1/operations/{id}.
std::size_t words_in(const std::vector<std::string>& form)
{
    return static_cast<std::size_t>(
        std::count_if(form.begin(), form.end(), [](const auto& s) { return !is_parameter(s); }));
}

} // namespace

std::string Target::path() const
{
    std::string text;
    for (const std::string& segment : segments)
        text += cat('/', segment);
    return text.empty() ? "/" : text;
}

Result<Target> parse_target(std::string_view target)
{
    if (target.size() > kMaxTarget) return fail(ErrorKind::Invalid, "the request target is longer than 8 KiB");
    if (!target.starts_with('/')) return fail(ErrorKind::Invalid, "the request target must begin with a slash");
    Target parsed;
    const auto question = target.find('?');
    std::string_view path = target.substr(1, question == std::string_view::npos ? question : question - 1);
    if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (!path.empty()) {
        for (const auto part : split(path, '/')) {
            auto segment = TRY(decode(part, false));
            if (segment.empty() || segment == "." || segment == "..")
                return fail(ErrorKind::Invalid, "the request target has an empty segment, '.' or '..'");
            if (parsed.segments.size() == kMaxSegments)
                return fail(ErrorKind::Invalid, "the request target is too deep");
            parsed.segments.push_back(std::move(segment));
        }
    }
    if (question != std::string_view::npos) parsed.query = TRY(parse_query(target.substr(question + 1)));
    return parsed;
}

Router::Router(std::vector<Route> routes) : routes_{std::move(routes)}
{
    for (const Route& route : routes_) {
        const auto parsed = parse_target(route.path);
        COPPICE_CHECK(parsed && route.handler);
        for (std::size_t i = 0; i < templates_.size(); ++i)
            COPPICE_CHECK(routes_[i].method != route.method || routes_[i].path != route.path);
        templates_.push_back(parsed->segments);
    }
}

std::variant<Router::Match, Router::NoSuchPath, Router::OtherMethods> Router::find(Method method,
                                                                                   const Target& target) const
{
    const std::size_t none = routes_.size();
    std::size_t best = none;
    for (std::size_t i = 0; i < routes_.size(); ++i) {
        if (routes_[i].method != method || !fits(templates_[i], target.segments)) continue;
        if (best == none || words_in(templates_[i]) > words_in(templates_[best])) best = i;
    }
    if (best == none) {
        auto allowed = methods_of(target);
        if (allowed.empty()) return NoSuchPath{};
        return OtherMethods{std::move(allowed)};
    }
    Match match{.route = &routes_[best], .params = {}};
    for (std::size_t i = 0; i < target.segments.size(); ++i) {
        const std::string& name = templates_[best][i];
        if (is_parameter(name)) match.params[name.substr(1, name.size() - 2)] = target.segments[i];
    }
    return match;
}

std::vector<Method> Router::methods_of(const Target& target) const
{
    std::vector<Method> methods;
    for (std::size_t i = 0; i < routes_.size(); ++i)
        if (fits(templates_[i], target.segments) &&
            std::find(methods.begin(), methods.end(), routes_[i].method) == methods.end())
            methods.push_back(routes_[i].method);
    return methods;
}

} // namespace coppice::daemon
