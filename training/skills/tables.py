"""The facts that the model learns by heart: common knowledge, written down for this purpose."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "Austria": "Vienna", "Greece": "Athens", "Ireland": "Dublin",
    "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen", "Finland": "Helsinki",
    "Iceland": "Reykjavik", "Poland": "Warsaw", "Hungary": "Budapest", "Belgium": "Brussels",
    "Switzerland": "Bern", "Turkey": "Ankara", "Russia": "Moscow", "Ukraine": "Kyiv",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb", "Serbia": "Belgrade",
    "Slovakia": "Bratislava", "Slovenia": "Ljubljana", "Estonia": "Tallinn", "Latvia": "Riga",
    "Lithuania": "Vilnius", "Albania": "Tirana", "Malta": "Valletta", "Cyprus": "Nicosia",
    "England": "London", "Scotland": "Edinburgh", "Wales": "Cardiff", "Canada": "Ottawa",
    "Cuba": "Havana", "Jamaica": "Kingston", "Brazil": "Brasilia", "Chile": "Santiago",
    "Peru": "Lima", "Colombia": "Bogota", "Ecuador": "Quito", "Venezuela": "Caracas",
    "Uruguay": "Montevideo", "Japan": "Tokyo", "China": "Beijing", "India": "Delhi",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Nepal": "Kathmandu",
    "Mongolia": "Ulaanbaatar", "Iran": "Tehran", "Iraq": "Baghdad", "Syria": "Damascus",
    "Lebanon": "Beirut", "Jordan": "Amman", "Qatar": "Doha", "Pakistan": "Islamabad",
    "Egypt": "Cairo", "Libya": "Tripoli", "Tunisia": "Tunis", "Algeria": "Algiers",
    "Morocco": "Rabat", "Kenya": "Nairobi", "Uganda": "Kampala", "Ghana": "Accra",
    "Nigeria": "Abuja", "Senegal": "Dakar", "Angola": "Luanda", "Zambia": "Lusaka",
    "Zimbabwe": "Harare", "Namibia": "Windhoek", "Rwanda": "Kigali", "Sudan": "Khartoum",
    "Australia": "Canberra", "Fiji": "Suva",
}  # fmt: skip

COLOURS = {
    "grass": "green", "the sky": "blue", "snow": "white", "coal": "black", "blood": "red",
    "the sun": "yellow", "a banana": "yellow", "a lemon": "yellow", "a tomato": "red",
    "a carrot": "orange", "a pumpkin": "orange", "milk": "white", "chocolate": "brown",
    "an elephant": "grey", "a mouse": "grey", "a frog": "green", "a flamingo": "pink",
    "a pig": "pink", "a raven": "black", "a swan": "white", "a cucumber": "green",
    "a strawberry": "red", "a ruby": "red", "an emerald": "green", "a sapphire": "blue",
    "the sea": "blue", "a leaf": "green", "salt": "white", "honey": "yellow",
    "an aubergine": "purple", "lavender": "purple", "mud": "brown", "a bear": "brown",
    "ash": "grey", "a pea": "green", "cotton": "white", "butter": "yellow", "a plum": "purple",
    "a fire engine": "red", "a sunflower": "yellow",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "early": "late",
    "happy": "sad", "light": "dark", "open": "closed", "full": "empty", "rich": "poor",
    "strong": "weak", "young": "old", "hard": "soft", "wet": "dry", "clean": "dirty",
    "loud": "quiet", "near": "far", "high": "low", "up": "down", "left": "right",
    "good": "bad", "love": "hate", "day": "night", "begin": "end", "first": "last",
    "inside": "outside", "above": "below", "before": "after", "always": "never",
    "buy": "sell", "push": "pull", "win": "lose", "north": "south", "east": "west",
    "true": "false", "thick": "thin", "wide": "narrow", "deep": "shallow", "easy": "difficult",
    "sharp": "blunt", "brave": "afraid", "friend": "enemy", "question": "answer",
    "summer": "winter", "give": "take", "laugh": "cry", "arrive": "leave", "safe": "dangerous",
    "cheap": "expensive", "smooth": "rough", "sweet": "bitter",
    "beautiful": "ugly", "alive": "dead", "asleep": "awake", "polite": "rude",
}  # fmt: skip
