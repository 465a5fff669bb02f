// Writes inside an instance so that a copy of its files tells whether they were all copied at one moment. Static.
//
// capture_writer counters DIR   numbers into the file "first", then the same into "second", for ever: a copy never has
//                               more in "second", and at most one less
// capture_writer mapped DIR     the same number into all pages of a mapped file, one page after another: a copy has at
//                               most two numbers, the greater one in front
// capture_writer light DIR      rewrites one of the files of DIR, ten times a second

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace {

int open_in(const std::string& directory, const char* name)
{
    const int fd = ::open((directory + "/" + name).c_str(), O_RDWR | O_CREAT, 0644);
    if (fd < 0) std::exit(2);
    return fd;
}

void count(const std::string& directory)
{
    const int first = open_in(directory, "first"), second = open_in(directory, "second");
    for (std::uint64_t number = 1;; ++number)
        for (const int fd : {first, second})
            if (::pwrite(fd, &number, sizeof number, 0) != sizeof number) std::exit(2);
}

void store(const std::string& directory)
{
    constexpr std::size_t kPageBytes = 4096, kPages = 512;
    const int fd = open_in(directory, "mapped");
    if (::ftruncate(fd, kPageBytes * kPages) != 0) std::exit(2);
    auto* const bytes =
        static_cast<char*>(::mmap(nullptr, kPageBytes * kPages, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (bytes == MAP_FAILED) std::exit(2);
    for (std::uint64_t number = 1;; ++number)
        for (std::size_t page = 0; page < kPages; ++page)
            std::atomic_ref{*reinterpret_cast<std::uint64_t*>(bytes + page * kPageBytes)}.store(number);
}

void write_lightly(const std::string& directory)
{
    for (unsigned number = 0;; ++number) {
        const int fd = open_in(directory, ("f" + std::to_string(number % 100)).c_str());
        if (::pwrite(fd, &number, sizeof number, 0) != sizeof number) std::exit(2);
        ::close(fd);
        ::usleep(100'000);
    }
}

} // namespace

int main(int count_of_arguments, char** arguments)
{
    if (count_of_arguments != 3) return 2;
    const std::string what = arguments[1], directory = arguments[2];
    if (what == "counters") count(directory);
    if (what == "mapped") store(directory);
    if (what == "light") write_lightly(directory);
    return 2;
}
