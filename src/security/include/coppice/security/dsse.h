#pragma once

#include "coppice/security/signing.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Signed documents: DSSE envelopes with Ed25519. Source: docs/format/manifest.md, section "Envelope"
namespace coppice::security {

inline constexpr std::size_t kEnvelopeMaxBytes = 1U << 20;
inline constexpr std::size_t kPayloadMaxBytes = 700'000;
inline constexpr std::size_t kSignaturesMax = 16;

/// What is signed: type and payload, each with its length, so that neither can be taken for the other.
std::string pre_authentication(std::string_view payload_type, std::string_view payload);

struct DocumentKind {};
using DocumentDigest = Digest<DocumentKind>; ///< SHA-256 of the above; the same whoever signs

/// Signs and wraps. Errors: Invalid (payload too large)
Result<std::string> seal_document(std::string_view payload_type, std::string_view payload, const SigningKey& key);

struct OpenedDocument {
    std::string payload; ///< the very bytes that the signature covers
    DocumentDigest digest;
    KeyId signer; ///< of the first key in the list that has signed
};

/// Checks an envelope from anywhere and returns the bytes it vouches for.
/// @param trusted whose signatures count; one of them is enough
/// Errors: Invalid (not an envelope, or too large), Denied (another payload type, or no valid signature of a trusted
/// key)
Result<OpenedDocument> open_document(std::string_view envelope, std::string_view payload_type,
                                     std::span<const PublicKey> trusted);

/// The bytes in an envelope whose digest somebody vouches for who was checked: by its key, or by such a document.
/// Errors: Invalid (as above), Corrupt (it is another document)
Result<std::string> open_known_document(std::string_view envelope, std::string_view payload_type,
                                        const DocumentDigest& digest);

} // namespace coppice::security
