#include "content.h"

#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>
#include <vector>

namespace coppice::power {

namespace {

constexpr std::size_t kJunkBytes = 4U << 20;

struct File {
    std::string name, bytes;
};

std::string noise(std::mt19937_64& random, std::size_t bytes)
{
    std::string text(bytes, 'x');
    for (std::size_t i = 0; i + 8 <= bytes / 2; i += 8) { // shrinks to about a half
        const auto value = random();
        std::memcpy(text.data() + i, &value, 8);
    }
    return text;
}

std::vector<File> files_of(std::uint64_t seed)
{
    std::mt19937_64 random{seed};
    std::vector<File> files{{"last", std::to_string(seed)}};
    const auto count = 2 + random() % 8;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::size_t bytes = random() % 4 == 0 ? random() % 600'000 : random() % 20'000;
        files.push_back({"f" + std::to_string(seed) + "-" + std::to_string(i), noise(random, bytes)});
    }
    return files;
}

void write_file(const std::string& path, const std::string& bytes)
{
    std::ofstream file{path, std::ios::binary | std::ios::trunc};
    file << bytes << std::flush;
    if (!file) throw std::runtime_error{"cannot write " + path};
}

} // namespace

void write_files(const std::string& directory, std::uint64_t seed)
{
    for (const File& file : files_of(seed))
        write_file(directory + "/" + file.name, file.bytes);
}

void write_junk(const std::string& directory, std::uint64_t seed)
{
    std::mt19937_64 random{seed};
    write_file(directory + "/junk", noise(random, 1 + random() % kJunkBytes));
}

std::string compare_files(const vdisk::Tree& whole, std::uint64_t seed)
{
    for (const File& file : files_of(seed)) {
        const auto found = whole.find_path(file.name);
        if (!found || !whole.is_file(*found)) return file.name + " is missing";
        if (whole.size(*found) != file.bytes.size()) return file.name + " has another size";
        if (file.bytes.empty()) continue;
        std::string bytes(file.bytes.size(), '\0');
        const auto content = whole.open_content(*found);
        if (!content) return content.error().line();
        if (const auto read = (*content)->read(0, bytes); !read) return read.error().line();
        if (bytes != file.bytes) return file.name + " has other content";
    }
    return {};
}

} // namespace coppice::power
