#pragma once

#include "coppice/base/text.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coppice::imports::test {

/// One entry, well-formed or not.
struct TarFields {
    std::string path;
    char type = '0';
    std::string content, target;
    std::uint64_t mode = 0644, uid = 0, gid = 0, mtime = 1'700'000'000, major = 0, minor = 0;
    std::int64_t size = -1; ///< -1: that of `content`
};

/// Writes archives as an honest program would, and as a dishonest one.
class TarMaker {
public:
    TarMaker& add(const TarFields& fields)
    {
        std::string block(512, '\0');
        const auto octal = [&](std::size_t at, std::size_t bytes, std::uint64_t value) {
            char text[32];
            std::snprintf(text, sizeof text, "%0*llo", static_cast<int>(bytes - 1),
                          static_cast<unsigned long long>(value));
            block.replace(at, bytes - 1, text, bytes - 1);
        };
        block.replace(0, std::min<std::size_t>(fields.path.size(), 100), fields.path, 0, 100);
        octal(100, 8, fields.mode);
        octal(108, 8, fields.uid);
        octal(116, 8, fields.gid);
        octal(124, 12, fields.size < 0 ? fields.content.size() : static_cast<std::uint64_t>(fields.size));
        octal(136, 12, fields.mtime);
        block[156] = fields.type;
        block.replace(157, std::min<std::size_t>(fields.target.size(), 100), fields.target, 0, 100);
        block.replace(257, 8, std::string_view{"ustar\00000", 8});
        octal(329, 8, fields.major);
        octal(337, 8, fields.minor);
        seal(block);
        bytes_ += block;
        data(fields.content);
        return *this;
    }
    TarMaker& file(const std::string& path, const std::string& content)
    {
        return add({.path = path, .content = content});
    }
    TarMaker& directory(const std::string& path) { return add({.path = path, .type = '5', .mode = 0755}); }
    TarMaker& link(const std::string& path, const std::string& target)
    {
        return add({.path = path, .type = '2', .target = target, .mode = 0777});
    }
    TarMaker& hard_link(const std::string& path, const std::string& target)
    {
        return add({.path = path, .type = '1', .target = target});
    }
    /// Records for the next entry, or with 'g' for all.
    TarMaker& pax(const std::vector<std::pair<std::string, std::string>>& records, char type = 'x')
    {
        std::string text;
        for (const auto& [keyword, value] : records)
            text += record(keyword, value);
        return add({.path = "pax", .type = type, .content = text});
    }
    static std::string record(const std::string& keyword, const std::string& value)
    {
        const std::size_t rest = keyword.size() + value.size() + 3;
        std::size_t length = rest + 1;
        while (std::to_string(length).size() + rest != length)
            ++length;
        return cat(length, " ", keyword, "=", value, "\n");
    }
    /// Makes the checksum of a header right.
    static void seal(std::string& block)
    {
        block.replace(148, 8, "        ");
        unsigned sum = 0;
        for (const char c : block)
            sum += static_cast<unsigned char>(c);
        char text[16];
        std::snprintf(text, sizeof text, "%06o", sum);
        block.replace(148, 7, text, 7);
    }
    TarMaker& raw(std::string_view bytes)
    {
        bytes_ += bytes;
        return *this;
    }
    void data(std::string_view content)
    {
        bytes_ += content;
        bytes_.resize((bytes_.size() + 511) / 512 * 512);
    }
    [[nodiscard]] std::string unfinished() const { return bytes_; }
    [[nodiscard]] std::string finish() const { return bytes_ + std::string(1024, '\0'); }

private:
    std::string bytes_;
};

} // namespace coppice::imports::test
