#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

/// Parses a JSON text. Depth is limited (kJsonMaxDepth), so that hostile documents cannot exhaust the stack of
/// whoever walks the result. Errors: Invalid, with the byte position.
Result<nlohmann::json> parse_json(std::string_view text);
inline constexpr int kJsonMaxDepth = 64;

/// A JSON string literal, quotes included. Bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

/// One place in a parsed document together with its path, so that every complaint names the field:
/// "process.args[0]: must be a string". Borrows the document. A null value counts as absent, as in the Go programs
/// that write these documents.
class JsonNode {
public:
    explicit JsonNode(const nlohmann::json& value, std::string path = {}) : value_{&value}, path_{std::move(path)} {}

    /// The member `key`, empty when absent or null. Errors: Invalid when this node is not an object.
    [[nodiscard]] Result<std::optional<JsonNode>> find(std::string_view key) const;
    /// The member `key`. Errors: Invalid when absent.
    [[nodiscard]] Result<JsonNode> get(std::string_view key) const;

    /// The value itself. Errors: Invalid when of another type, out of range, or (text) holding a NUL byte, which no
    /// kernel interface could carry.
    [[nodiscard]] Result<std::string> text() const;
    [[nodiscard]] Result<std::int64_t> integer(std::int64_t least = INT64_MIN, std::int64_t most = INT64_MAX) const;
    [[nodiscard]] Result<std::uint64_t> unsigned_integer(std::uint64_t most = UINT64_MAX) const;
    [[nodiscard]] Result<bool> boolean() const;
    [[nodiscard]] Result<std::vector<std::string>> texts() const;

    /// The member `key` or `otherwise` when absent.
    [[nodiscard]] Result<std::string> text_or(std::string_view key, std::string_view otherwise) const;
    [[nodiscard]] Result<bool> boolean_or(std::string_view key, bool otherwise) const;
    [[nodiscard]] Result<std::vector<std::string>> texts_or_none(std::string_view key) const;
    [[nodiscard]] Result<std::optional<std::int64_t>> find_integer(std::string_view key, std::int64_t least = INT64_MIN,
                                                                   std::int64_t most = INT64_MAX) const;

    /// Calls `visit` with every element of the array member `key`; an absent member is an empty array.
    Result<> each(std::string_view key, const std::function<Result<>(const JsonNode&)>& visit) const;
    /// Calls `visit` with name and value of every member of the object member `key`; absent is empty.
    Result<> each_member(std::string_view key,
                         const std::function<Result<>(const std::string&, const JsonNode&)>& visit) const;

    [[nodiscard]] const nlohmann::json& value() const { return *value_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    /// An Invalid error at this place.
    [[nodiscard]] Error complain(std::string_view what) const;

private:
    const nlohmann::json* value_;
    std::string path_;
};

} // namespace coppice
